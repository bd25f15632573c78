package proxyproto

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func header(source, dest string) Header {
	return Header{netip.MustParseAddrPort(source), netip.MustParseAddrPort(dest)}
}

func binaryHeader(command, family byte, rest string) string {
	return signature + string([]byte{command, family, byte(len(rest) >> 8), byte(len(rest))}) + rest
}

const (
	four = "\x01\x02\x03\x04\x0a\x00\x00\x01\x13\x88\x00\x50"
	six  = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x13\x88\x00\x50"
)

func TestHeadersAreReadToTheirEndAndNoFurther(t *testing.T) {
	v4, v6 := header("1.2.3.4:5000", "10.0.0.1:80"), header("[2001:db8::1]:5000", "[2001:db8::2]:80")
	for name, c := range map[string]struct {
		text string
		want Header
	}{
		"v1 of IPv4":              {"PROXY TCP4 1.2.3.4 10.0.0.1 5000 80\r\n", v4},
		"v1 of IPv6":              {"PROXY TCP6 2001:db8::1 2001:db8::2 5000 80\r\n", v6},
		"v1 of mapped IPv4":       {"PROXY TCP6 ::ffff:1.2.3.4 ::ffff:10.0.0.1 5000 80\r\n", v4},
		"v1, the shortest":        {"PROXY TCP6 :: :: 0 0\r\n", header("[::]:0", "[::]:0")},
		"v1, the longest":         {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", header("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")},
		"v1, unknown":             {"PROXY UNKNOWN\r\n", Header{}},
		"v1, unknown with more":   {"PROXY UNKNOWN " + strings.Repeat("f", 91) + "\r\n", Header{}},
		"v2 of IPv4":              {binaryHeader(0x21, 0x11, four), v4},
		"v2 of IPv6":              {binaryHeader(0x21, 0x21, six), v6},
		"v2 with additions":       {binaryHeader(0x21, 0x11, four+"\x04\x00\x03abc\x03\x00\x00"), v4},
		"v2 of a Unix socket":     {binaryHeader(0x21, 0x31, strings.Repeat("x", 216)), Header{}},
		"v2 of no family":         {binaryHeader(0x21, 0x00, ""), Header{}},
		"v2 of the proxy itself":  {binaryHeader(0x20, 0x00, ""), Header{}},
		"v2, local with anything": {binaryHeader(0x20, 0x7f, "whatever"), Header{}},
		"v2, the longest":         {binaryHeader(0x21, 0x11, four+"\x04\x0f\xe1"+strings.Repeat("x", 0x0fe1)), v4},
	} {
		t.Run(name, func(t *testing.T) {
			for _, pieces := range []bool{false, true} {
				var r io.Reader = strings.NewReader(c.text + "GET / HTTP/1.1\r\n")
				if pieces {
					r = iotest.OneByteReader(r)
				}
				got, err := Read(r)
				if err != nil || got != c.want {
					t.Fatalf("read %v, %v; want %v", got, err, c.want)
				}
				if rest, _ := io.ReadAll(r); string(rest) != "GET / HTTP/1.1\r\n" {
					t.Errorf("left %q", rest)
				}
			}
		})
	}
}

func TestWhatIsNoHeaderIsRefused(t *testing.T) {
	for text, want := range map[string]error{
		"":                                                                        io.EOF,
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                                       ErrNone,
		"PROXY":                                                                   io.ErrUnexpectedEOF,
		"proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n":                                      ErrNone,
		"PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n":                                     ErrMalformed,
		"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n  ":                                      ErrMalformed,
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n":                                    ErrMalformed,
		"PROXY TCP4 1.2.3.4  1.2.3.4 1 1\r\n":                                     ErrMalformed,
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n \n":                                     ErrMalformed,
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r \r\n":                                   ErrMalformed,
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n":                                  ErrMalformed,
		"PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n":                                     ErrMalformed,
		"PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n":                                     ErrMalformed,
		"PROXY TCP4 1.2.3.04 1.2.3.4 1 1\r\n":                                     ErrMalformed,
		"PROXY TCP4 ::1 ::1 1 1            \r\n":                                  ErrMalformed,
		"PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n":                                      ErrMalformed,
		"PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n":                                     ErrMalformed,
		"PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n":                                      ErrMalformed,
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 1":                                          io.ErrUnexpectedEOF,
		"PROXY UNKNOWN " + strings.Repeat("f", 92) + "\r\n":                       ErrTooLong,
		"PROXY " + strings.Repeat("f", 200):                                       ErrTooLong,
		signature[:8]:                                                             io.ErrUnexpectedEOF,
		signature:                                                                 io.ErrUnexpectedEOF,
		binaryHeader(0x21, 0x11, four)[:20]:                                       io.ErrUnexpectedEOF,
		binaryHeader(0x11, 0x11, four):                                            ErrMalformed,
		binaryHeader(0x22, 0x11, four):                                            ErrMalformed,
		binaryHeader(0x21, 0x12, four):                                            ErrMalformed,
		binaryHeader(0x21, 0x41, four):                                            ErrMalformed,
		binaryHeader(0x21, 0x11, four[:11]):                                       ErrMalformed,
		binaryHeader(0x21, 0x21, six[:35]):                                        ErrMalformed,
		binaryHeader(0x21, 0x31, strings.Repeat("x", 215)):                        ErrMalformed,
		binaryHeader(0x21, 0x11, four+"\x04\x00"):                                 ErrMalformed,
		binaryHeader(0x21, 0x11, four+"\x04\x00\x04abc"):                          ErrMalformed,
		binaryHeader(0x20, 0x00, strings.Repeat("x", MaxLen-fixedLen+1)):          ErrTooLong,
		signature[:11] + "\x0b" + binaryHeader(0x21, 0x11, four)[len(signature):]: ErrNone,
	} {
		if h, err := Read(strings.NewReader(text)); !errors.Is(err, want) || h != (Header{}) {
			t.Errorf("%.60q: %v, %v; want %v", text, h, err, want)
		}
	}
}

func TestErrorsOfTheConnectionComeThrough(t *testing.T) {
	broken := errors.New("broken")
	for _, text := range []string{"PROXY TCP4 1.2.3.4 ", signature + "\x21", binaryHeader(0x21, 0x11, four)[:17]} {
		if _, err := Read(io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken))); err != broken {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestWhatIsWrittenIsReadAlike(t *testing.T) {
	addr := rapid.Custom(func(t *rapid.T) netip.AddrPort {
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")
		a := netip.AddrFrom16([16]byte(b))
		if rapid.Bool().Draw(t, "v4") {
			a = netip.AddrFrom4([4]byte(b))
		}
		return netip.AddrPortFrom(a.Unmap(), rapid.Uint16().Draw(t, "port"))
	})
	rapid.Check(t, func(t *rapid.T) {
		h := Header{addr.Draw(t, "source"), addr.Draw(t, "destination")}
		for _, v := range []Version{V1, V2} {
			r := bytes.NewReader(append(h.Append(nil, v), 'x'))
			got, err := Read(r)
			if err != nil || got != h || r.Len() != 1 {
				t.Fatalf("version %d: %v, %v, %d left; want %v", v, got, err, r.Len(), h)
			}
		}
	})
}

func TestUnknownAddressesAreWrittenAsOurOwnConnection(t *testing.T) {
	for v, want := range map[Version]string{V1: "PROXY UNKNOWN\r\n", V2: binaryHeader(0x20, 0, "")} {
		if got := string(Header{Source: netip.MustParseAddrPort("1.2.3.4:5")}.Append(nil, v)); got != want {
			t.Errorf("version %d: %q", v, got)
		}
	}
}

// FuzzRead holds that what is read is bounded, and that a header which was understood says the same when written anew.
func FuzzRead(f *testing.F) {
	f.Add([]byte("PROXY TCP4 1.2.3.4 10.0.0.1 5000 80\r\nGET"))
	f.Add([]byte("PROXY TCP6 ::ffff:1.2.3.4 ::1 5000 80\r\n"))
	f.Add([]byte("PROXY UNKNOWN a b\r\n"))
	f.Add([]byte(binaryHeader(0x21, 0x11, four+"\x04\x00\x03abc")))
	f.Add([]byte(binaryHeader(0x21, 0x21, six)))
	f.Add([]byte(binaryHeader(0x20, 0x00, "")))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		h, err := Read(r)
		if used := len(data) - r.Len(); used > MaxLen {
			t.Fatalf("read %d bytes", used)
		}
		if err != nil {
			if h != (Header{}) {
				t.Fatalf("%v beside %v", h, err)
			}
			return
		}
		if h.Source.IsValid() != h.Destination.IsValid() {
			t.Fatalf("half a header: %v", h)
		}
		whole := data[:len(data)-r.Len()]
		if text := bytes.HasPrefix(whole, []byte("PROXY ")); text && !bytes.HasSuffix(whole, []byte("\r\n")) {
			t.Fatalf("took %q for a line", whole)
		}
		for _, v := range []Version{V1, V2} {
			if again, err := Read(bytes.NewReader(h.Append(nil, v))); err != nil || again != h {
				t.Fatalf("version %d: %v became %v, %v", v, h, again, err)
			}
		}
	})
}
