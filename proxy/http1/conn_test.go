package http1

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestPipelinedRequestsComeOneByOne(t *testing.T) {
	const input = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" +
		"\r\nPOST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /4 HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, size := range pieceSizes {
		for _, buffer := range []int{0, 16, 600, 4096} {
			var r Reader
			var q Request
			var b Body
			var l Limits
			r.Reset(&pieces{strings.Repeat(input, 100), size}, make([]byte, buffer))
			var got strings.Builder
			for {
				err := r.ReadRequest(&q, &l)
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				b.Begin(&r, &q.Head, &l)
				content, err := io.ReadAll(&b)
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString(string(q.Target()) + string(content) + " ") // the head outlives the content
			}
			if want := strings.Repeat("/1 /2hello /3abc /4 ", 100); got.String() != want {
				t.Fatalf("pieces of %d, a buffer of %d: got %.100q", size, buffer, got.String())
			}
			if n := len(r.Detach()); n > 4096 {
				t.Errorf("pieces of %d, a buffer of %d: it grew to %d", size, buffer, n)
			}
		}
	}
}

func TestABufferIsGivenBackOnlyEmpty(t *testing.T) {
	var r Reader
	var q Request
	var l Limits
	buf := make([]byte, 4096)
	r.Reset(&pieces{"GET / HTTP/1.1\r\nHost: h\r\n\r\nX", 100}, buf)
	if err := r.ReadRequest(&q, &l); err != nil {
		t.Fatal(err)
	}
	if r.Detach() != nil {
		t.Fatal("given back with a byte in it")
	}
	if string(r.Buffered()) != "X" {
		t.Fatalf("buffered is %q", r.Buffered())
	}
	r.Discard(5)
	if got := r.Detach(); len(got) != 4096 || &got[0] != &buf[0] {
		t.Fatal("not the buffer that was lent")
	}
	r.Attach(buf)
	r.src = &pieces{"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n", 100}
	if err := r.ReadRequest(&q, &l); err != nil || string(q.Target()) != "/2" {
		t.Errorf("after attaching: %q, %v", q.Target(), err)
	}
}

func TestContentMustBeAsLongAsAnnounced(t *testing.T) {
	var out bytes.Buffer
	var w Writer
	w.Reset(&out, make([]byte, 0, 2048))
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("content without a message is written")
	}
	w.Begin(Sized, 5)
	if _, err := w.Write([]byte("123456")); err != ErrContent {
		t.Errorf("too much: %v", err)
	}
	if _, err := w.Write([]byte("123")); err != nil || w.Ended() {
		t.Errorf("a part: %v", err)
	}
	if err := w.End(nil); err != ErrContent {
		t.Errorf("too little: %v", err)
	}
	if _, err := w.Write([]byte("45")); err != nil || !w.Ended() || w.Count() != 5 {
		t.Errorf("the rest: %v", err)
	}
	if err := w.End(nil); err != nil || out.String() != "12345" {
		t.Errorf("the end: %v, %q", err, out.String())
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("content behind the end is written")
	}
}

func TestRelayKeepsToTheLengthAnnounced(t *testing.T) {
	for _, length := range []int64{4, 6, 0} {
		m := newPassage(&replay{plainPost})
		if err := m.r.ReadRequest(&m.q, &m.l); err != nil {
			t.Fatal(err)
		}
		m.b.Begin(&m.r, &m.q.Head, &m.l)
		m.w.Begin(Sized, length)
		if _, done, err := m.w.Relay(&m.b); err != ErrContent || done {
			t.Errorf("11 bytes go as %d: %v, %v", length, done, err)
		}
	}
}

func TestWrittenChunksAreReadBack(t *testing.T) {
	for _, size := range []int{1, 15, 16, 17, 255, 256, 1000, 4095, 4096, 5000} {
		var out bytes.Buffer
		var w Writer
		w.Reset(&out, make([]byte, 0, 2048))
		w.Begin(Chunked, 0)
		var want []byte
		for i := range 20 {
			p := bytes.Repeat([]byte{byte('a' + i)}, size)
			want = append(want, p...)
			if _, err := w.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.End(nil); err != nil || w.Count() != int64(len(want)) {
			t.Fatalf("%v, %d written", err, w.Count())
		}
		if cap(w.Buf) != 2048 {
			t.Errorf("the buffer grew to %d", cap(w.Buf))
		}
		got, _, _, err := chunked(out.String(), 1<<20, 4096, 4096)
		if err != nil || got != string(want) {
			t.Errorf("chunks of %d: %v", size, err)
		}
	}
}

// failing fails every write.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestAFailedWriteIsKept(t *testing.T) {
	var w Writer
	w.Reset(failing{}, make([]byte, 0, 100))
	w.Begin(Sized, 1000)
	w.Write([]byte("small"))
	if err := w.Flush(); err != io.ErrClosedPipe || w.Err() != err {
		t.Errorf("got %v", err)
	}
	if _, err := w.Write([]byte("x")); err != io.ErrClosedPipe {
		t.Errorf("then %v", err)
	}
	if err := w.End(nil); err != io.ErrClosedPipe {
		t.Errorf("at the end %v", err)
	}
}

func TestOurFieldsCannotBreakOut(t *testing.T) {
	got := string(AppendEnd(AppendField(AppendStatus(nil, 400, "a\r\nb"), "X", "a\r\nEvil: b\x00\x7f"), Sized, 0))
	if want := "HTTP/1.1 400 a  b\r\nX: a  Evil: b  \r\nContent-Length: 0\r\n\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for v, want := range map[string]bool{"a b": true, "": true, "\xff": true, "a\nb": false, " a": false, "a\t": false, "\x7f": false} {
		if ValidValue(v) != want {
			t.Errorf("%q is valid: %v", v, !want)
		}
	}
}

func TestWatchTellsWhatAConnectionHas(t *testing.T) {
	near, far := tcpPair(t)
	var w Watch
	if err := w.Reset(near); err != nil {
		t.Fatal(err)
	}
	if s := w.State(); s != Quiet {
		t.Fatalf("a quiet connection is %d", s)
	}
	if n := testing.AllocsPerRun(100, func() { w.State() }); n != 0 {
		t.Errorf("looking costs %v allocations", n)
	}
	near.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if err := w.Wait(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("waiting ends with %v", err)
	}
	near.SetReadDeadline(time.Time{})
	done := make(chan error)
	go func() { done <- w.Wait() }()
	io.WriteString(far, "x")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s := w.State(); s != Readable {
		t.Fatalf("a byte is %d", s)
	}
	io.ReadFull(near, make([]byte, 1))
	far.Close()
	if err := w.Wait(); err != nil {
		t.Fatal(err)
	}
	if s := w.State(); s != Ended {
		t.Fatalf("an end is %d", s)
	}
	near.Close()
	if s := w.State(); s != Ended {
		t.Fatalf("a closed connection is %d", s)
	}
}

func TestRelayedChunksAreReadBackFromBuffersOfAnySize(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 1000)
	for _, size := range []int{1050, 2048, 4095, 4096, 4097, 4102, 4103, 4104, 8192} {
		for _, piece := range []int{1, 15, 16, 17, 255, 257, 4096, 1 << 20} {
			for _, held := range []bool{false, true} {
				var r Reader
				var b Body
				var w Writer
				var l Limits
				var out bytes.Buffer
				r.Reset(&pieces{content, piece}, nil)
				b.Begin(&r, &Head{Framing: UntilClose}, &l)
				w.Reset(&out, make([]byte, 0, size))
				w.Begin(Chunked, -1)
				if held {
					if _, err := w.Take(&b); err != nil {
						t.Fatal(err)
					}
				}
				for done := false; !done; {
					var err error
					if _, done, err = w.Relay(&b); err != nil {
						t.Fatal(err)
					}
				}
				if cap(w.Buf) != size {
					t.Errorf("a buffer of %d grew to %d", size, cap(w.Buf))
				}
				if got, _, _, err := chunked(out.String(), 1<<20, 4096, 4096); err != nil || got != content {
					t.Fatalf("a buffer of %d, pieces of %d: %d bytes, %v", size, piece, len(got), err)
				}
			}
		}
	}
}

func TestAnEndThatComesWithTheLastBytesIsTheEnd(t *testing.T) {
	const input = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" +
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
	for _, size := range pieceSizes {
		var r Reader
		var q Request
		var b Body
		var l Limits
		r.Reset(iotest.DataErrReader(&pieces{input, size}), nil)
		for range 2 {
			if err := r.ReadRequest(&q, &l); err != nil {
				t.Fatalf("pieces of %d: %v", size, err)
			}
			b.Begin(&r, &q.Head, &l)
			if got, err := io.ReadAll(&b); err != nil || string(got) != "hello" {
				t.Fatalf("pieces of %d: %q, %v", size, got, err)
			}
		}
		for range 2 {
			if err := r.ReadRequest(&q, &l); err != io.EOF {
				t.Errorf("pieces of %d: then %v", size, err)
			}
		}
	}
}

func TestChunkedContentResumesAfterDeadlinesAnywhere(t *testing.T) {
	const input = "5;a=\"b\"\r\nhello\r\n6\r\n world\r\n0\r\nA: b\r\n\r\n"
	var r Reader
	var q Request
	var b Body
	var l Limits
	const head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	r.Reset(&halting{text: head + input}, nil)
	for {
		err := r.ReadRequest(&q, &l)
		if err == nil {
			break
		}
		if err != os.ErrDeadlineExceeded {
			t.Fatal(err)
		}
	}
	b.Begin(&r, &q.Head, &l)
	var got []byte
	p := make([]byte, 100)
	for halts := 0; ; {
		n, err := b.Read(p)
		got = append(got, p[:n]...)
		if err == io.EOF {
			if halts < len(input)-1 {
				t.Errorf("only %d deadlines were seen", halts)
			}
			break
		}
		if err == os.ErrDeadlineExceeded {
			halts++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if string(got) != "hello world" || b.Err() != nil || len(b.Trailers().Fields()) != 1 {
		t.Errorf("got %q, %v, %d trailers", got, b.Err(), len(b.Trailers().Fields()))
	}
}

// halting gives out a text byte by byte, with a deadline that has passed before each.
type halting struct {
	text string
	odd  bool
}

func (h *halting) Read(p []byte) (int, error) {
	if h.odd = !h.odd; h.odd {
		return 0, os.ErrDeadlineExceeded
	}
	if h.text == "" {
		return 0, io.EOF
	}
	p[0], h.text = h.text[0], h.text[1:]
	return 1, nil
}

func TestSmallContentWaitsForMore(t *testing.T) {
	for _, framing := range []Framing{Sized, Chunked, UntilClose} {
		var out writes
		var w Writer
		w.Reset(&out, make([]byte, 0, 1024))
		w.Begin(framing, 30)
		for range 3 {
			if _, err := w.Write([]byte("0123456789")); err != nil {
				t.Fatal(err)
			}
		}
		if out.n != 0 {
			t.Errorf("framing %d: %d writes before the end", framing, out.n)
		}
		if err := w.End(nil); err != nil || out.n != 1 {
			t.Errorf("framing %d: %d writes, %v", framing, out.n, err)
		}
	}
}
