package http1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tcpPair is the two ends of a connection.
func tcpPair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close(); accepted.Close() })
	return dialed.(*net.TCPConn), accepted.(*net.TCPConn)
}

// route is a backend's connection, a client's, and the pieces between their far ends.
type route struct {
	backend, client *net.TCPConn
	in, out         *net.TCPConn // our ends
	r               Reader
	w               Writer
	p               Response
	b               Body
	l               Limits
}

func newRoute(t testing.TB) *route {
	x := new(route)
	x.backend, x.in = tcpPair(t)
	x.out, x.client = tcpPair(t)
	x.r.Reset(x.in, make([]byte, 8<<10))
	x.w.Reset(x.out, make([]byte, 0, 32<<10))
	return x
}

// head reads a response's head and begins to relay it.
func (x *route) head(t *testing.T) {
	t.Helper()
	if err := x.r.ReadResponse(&x.p, "GET", &x.l); err != nil {
		t.Fatal(err)
	}
	framing := x.p.FramingFor(1)
	x.w.Buf = AppendEnd(x.p.AppendFields(x.p.AppendLine(x.w.Buf)), framing, x.p.Length)
	x.b.Begin(&x.r, &x.p.Head, &x.l)
	x.w.Begin(framing, x.p.Length)
}

func (x *route) relay() error {
	for {
		_, done, err := x.w.Relay(&x.b)
		if done || err != nil {
			return err
		}
	}
}

func TestLargeContentGoesFromSocketToSocketWhole(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	for _, splice := range []int{0, -1, 1} {
		x := newRoute(t)
		x.w.Splice = splice
		go func() {
			io.WriteString(x.backend, "HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n")
			x.backend.Write(content)
			io.WriteString(x.backend, "HTTP/1.1 204 \r\n\r\n")
		}()
		got := make(chan []byte)
		go func() {
			all, _ := io.ReadAll(x.client)
			got <- all
		}()
		x.head(t)
		if err := x.relay(); err != nil {
			t.Fatal(err)
		}
		if err := x.r.ReadResponse(&x.p, "GET", &x.l); err != nil || x.p.Status != 204 {
			t.Fatalf("after the content came a status of %d, %v", x.p.Status, err)
		}
		x.out.CloseWrite()
		all := <-got
		_, body, _ := bytes.Cut(all, []byte("\r\n\r\n"))
		if !bytes.Equal(body, content) {
			t.Errorf("splice %d: %d bytes arrived, not the ones sent", splice, len(body))
		}
		if x.w.Count() != int64(len(content)) || x.b.Count() != int64(len(content)) {
			t.Errorf("splice %d: counted %d and %d", splice, x.w.Count(), x.b.Count())
		}
	}
}

// gathering is a socket that can gather.
type gathering struct {
	*net.TCPConn
	asked []int
}

func (g *gathering) Raw() syscall.RawConn { return rawOf(g.TCPConn) }
func (g *gathering) Gather(n int)         { g.asked = append(g.asked, n) }

func TestLargeContentOfALengthIsGathered(t *testing.T) {
	if !canSplice {
		t.Skip("nothing is spliced on this system")
	}
	for head, gathers := range map[string]bool{"Content-Length: 4194304\r\n": true, "": false} {
		x := newRoute(t)
		src := &gathering{TCPConn: x.in}
		x.r.Reset(src, make([]byte, 8<<10))
		progress := 0
		x.w.Progress = func() { progress++ }
		x.out.SetWriteBuffer(4 << 10)
		go func() {
			io.WriteString(x.backend, "HTTP/1.0 200 OK\r\n"+head+"\r\n")
			x.backend.Write(make([]byte, 4<<20))
			x.backend.CloseWrite()
		}()
		got := make(chan int64)
		go func() {
			n, _ := io.Copy(io.Discard, x.client)
			got <- n
		}()
		if err := x.r.ReadResponse(&x.p, "GET", &x.l); err != nil {
			t.Fatal(err)
		}
		framing := x.p.FramingFor(0)
		x.b.Begin(&x.r, &x.p.Head, &x.l)
		x.w.Begin(framing, x.p.Length)
		if err := x.relay(); err != nil {
			t.Fatal(err)
		}
		x.out.CloseWrite()
		if n := <-got; n != 4<<20 {
			t.Errorf("%q: %d bytes arrived", head, n)
		}
		if (len(src.asked) > 0) != gathers || progress == 0 {
			t.Errorf("%q: gathered %v, progress was told of %d times", head, src.asked, progress)
		}
		for _, n := range src.asked {
			if n < spliceMin || n > progressStep {
				t.Errorf("%q: gathered %v", head, src.asked)
			}
		}
	}
}

func TestContentUntilCloseGoesInChunks(t *testing.T) {
	x := newRoute(t)
	io.WriteString(x.backend, "HTTP/1.1 200 OK\r\n\r\nhello")
	x.backend.CloseWrite()
	x.head(t)
	if err := x.relay(); err != nil {
		t.Fatal(err)
	}
	x.out.CloseWrite()
	all, _ := io.ReadAll(x.client)
	want := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
	if string(all) != want {
		t.Errorf("got %q, want %q", all, want)
	}
}

func TestAHeadDoesNotWaitForContent(t *testing.T) {
	x := newRoute(t)
	io.WriteString(x.backend, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
	x.head(t)
	done := make(chan error)
	go func() { done <- x.relay() }()
	p := make([]byte, 100)
	n, err := x.client.Read(p)
	if err != nil || !strings.HasSuffix(string(p[:n]), "\r\n\r\n") {
		t.Fatalf("got %q, %v", p[:n], err)
	}
	io.WriteString(x.backend, "hello")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// writes counts writes.
type writes struct {
	bytes.Buffer
	n int
}

func (w *writes) Write(p []byte) (int, error) { w.n++; return w.Buffer.Write(p) }

func TestHeadAndSmallContentTravelInOneWrite(t *testing.T) {
	for _, text := range []string{plainGet, plainPost, chunkedPost} {
		m := newPassage(&replay{text})
		var out writes
		m.w.Reset(&out, make([]byte, 0, 8<<10))
		if err := m.request(); err != nil {
			t.Fatal(err)
		}
		if out.n != 1 {
			t.Errorf("%q took %d writes: %q", text, out.n, out.String())
		}
	}
}

func TestAReadDeadlineLosesNothing(t *testing.T) {
	x := newRoute(t)
	io.WriteString(x.backend, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
	x.head(t)
	if _, _, err := x.w.Relay(&x.b); err != nil {
		t.Fatal(err)
	}
	x.in.SetReadDeadline(time.Unix(1, 0))
	if _, _, err := x.w.Relay(&x.b); !errors.Is(err, os.ErrDeadlineExceeded) || x.w.Err() != nil {
		t.Fatalf("got %v, of the writer %v", err, x.w.Err())
	}
	x.in.SetReadDeadline(time.Time{})
	io.WriteString(x.backend, "world")
	if err := x.relay(); err != nil {
		t.Fatal(err)
	}
	x.out.CloseWrite()
	all, _ := io.ReadAll(x.client)
	if !strings.HasSuffix(string(all), "\r\n\r\nhelloworld") {
		t.Errorf("got %q", all)
	}
}

func TestAnInterruptedHeadIsReadAgain(t *testing.T) {
	x := newRoute(t)
	io.WriteString(x.backend, "HTTP/1.1 200 OK\r\nContent-Le")
	for len(x.r.Buffered()) == 0 {
		x.in.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if err := x.r.ReadResponse(&x.p, "GET", &x.l); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
	}
	x.in.SetReadDeadline(time.Time{})
	io.WriteString(x.backend, "ngth: 5\r\n\r\n")
	if err := x.r.ReadResponse(&x.p, "GET", &x.l); err != nil || x.p.Length != 5 {
		t.Errorf("got %d, %v", x.p.Length, err)
	}
}

func TestAWriteDeadlineIsTheWritersEvenWhenSplicing(t *testing.T) {
	for _, splice := range []int{0, -1} {
		x := newRoute(t)
		x.w.Splice = splice
		x.out.SetWriteBuffer(4 << 10)
		x.client.SetReadBuffer(4 << 10)
		go func() {
			io.WriteString(x.backend, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
			zeros := make([]byte, 1<<20)
			for {
				if _, err := x.backend.Write(zeros); err != nil {
					return
				}
			}
		}()
		x.head(t)
		x.out.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		err := x.relay()
		if !errors.Is(err, os.ErrDeadlineExceeded) || x.w.Err() == nil || x.b.Err() != nil {
			t.Errorf("splice %d: got %v, of the writer %v, of the body %v", splice, err, x.w.Err(), x.b.Err())
		}
	}
}

func TestABrokenSourceIsTheBodysEvenWhenSplicing(t *testing.T) {
	for _, splice := range []int{0, -1} {
		x := newRoute(t)
		x.w.Splice = splice
		go io.Copy(io.Discard, x.client)
		go func() {
			io.WriteString(x.backend, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
			x.backend.Write(make([]byte, 1<<20))
			x.backend.SetLinger(0)
			x.backend.Close()
		}()
		x.head(t)
		err := x.relay()
		if err == nil || x.w.Err() != nil || x.b.Err() == nil {
			t.Errorf("splice %d: got %v, of the writer %v, of the body %v", splice, err, x.w.Err(), x.b.Err())
		}
	}
}

func TestALeavingClientIsTheWritersEvenWhenSplicing(t *testing.T) {
	for _, splice := range []int{0, -1} {
		x := newRoute(t)
		x.w.Splice = splice
		go func() {
			io.WriteString(x.backend, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
			zeros := make([]byte, 1<<20)
			for {
				if _, err := x.backend.Write(zeros); err != nil {
					return
				}
			}
		}()
		x.head(t)
		x.client.SetLinger(0)
		x.client.Close()
		err := x.relay()
		if err == nil || x.w.Err() == nil || x.b.Err() != nil {
			t.Errorf("splice %d: got %v, of the writer %v, of the body %v", splice, err, x.w.Err(), x.b.Err())
		}
		x.in.Close()
	}
}

func TestShortContentIsTold(t *testing.T) {
	for _, text := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	} {
		x := newRoute(t)
		io.WriteString(x.backend, text)
		x.backend.CloseWrite()
		x.head(t)
		if err := x.relay(); err != io.ErrUnexpectedEOF || x.b.Done() || x.b.Err() != err {
			t.Errorf("%q: got %v", text, err)
		}
		x.out.CloseWrite()
		all, _ := io.ReadAll(x.client)
		if !strings.Contains(string(all), "hello") || strings.HasSuffix(string(all), "0\r\n\r\n") {
			t.Errorf("%q: the client has %q", text, all)
		}
	}
}

func TestAHeldBackHeadGoesWithItsContentOrNotAtAll(t *testing.T) {
	for _, text := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		sized := strings.Contains(text, "Length")
		x := newRoute(t)
		var out writes
		x.w.Reset(&out, make([]byte, 0, 4<<10))
		io.WriteString(x.backend, text)
		x.head(t)
		x.in.SetReadDeadline(time.Unix(1, 0))
		if n, err := x.w.Take(&x.b); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || out.n != 0 {
			t.Fatalf("took %d, %v, %d writes", n, err, out.n)
		}
		x.in.SetReadDeadline(time.Time{})
		first, last := "5\r\nhello\r\n", "5\r\nworld\r\n0\r\n\r\n"
		if sized {
			first, last = "hello", "world"
		}
		io.WriteString(x.backend, first)
		if n, err := x.w.Take(&x.b); n != 5 || err != nil || out.n != 0 {
			t.Fatalf("took %d, %v, %d writes", n, err, out.n)
		}
		io.WriteString(x.backend, last)
		if err := x.relay(); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != text+first+last {
			t.Errorf("got %q", got)
		}

		x.w.Begin(Sized, 100)
		x.w.Buf = append(x.w.Buf, "a head"...)
		x.w.Drop()
		sent := out.Len()
		if err := x.w.Flush(); err != nil || out.Len() != sent || !x.w.Ended() {
			t.Errorf("what was dropped is sent: %q, %v", out.String()[sent:], err)
		}
	}
}

func benchRelay(b *testing.B, size, splice int) {
	x := newRoute(b)
	x.w.Splice = splice
	head := "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n"
	content := append([]byte(head), make([]byte, size)...)
	ask := make(chan struct{})
	go func() {
		for range ask {
			x.backend.Write(content)
		}
	}()
	go func() {
		p := make([]byte, 256<<10)
		for {
			if _, err := x.client.Read(p); err != nil {
				return
			}
		}
	}()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		ask <- struct{}{}
		if err := x.r.ReadResponse(&x.p, "GET", &x.l); err != nil {
			b.Fatal(err)
		}
		x.w.Buf = AppendEnd(x.p.AppendFields(x.p.AppendLine(x.w.Buf)), x.p.Framing, x.p.Length)
		x.b.Begin(&x.r, &x.p.Head, &x.l)
		x.w.Begin(x.p.Framing, x.p.Length)
		if err := x.relay(); err != nil {
			b.Fatal(err)
		}
	}
	close(ask)
}

func BenchmarkRelay64KiB(b *testing.B)       { benchRelay(b, 64<<10, 0) }
func BenchmarkRelay64KiBCopied(b *testing.B) { benchRelay(b, 64<<10, -1) }
func BenchmarkRelay1MiB(b *testing.B)        { benchRelay(b, 1<<20, 0) }
func BenchmarkRelay1MiBCopied(b *testing.B)  { benchRelay(b, 1<<20, -1) }
