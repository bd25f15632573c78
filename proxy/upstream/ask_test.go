package upstream

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/proxy/socket"
)

// asked is a Conn over loopback, and the other side of it.
func asked(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	if !socket.Can {
		t.Skip("Ask does nothing on this system")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	other, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	tcp := c.(*net.TCPConn)
	return &Conn{Conn: c, TCP: tcp, look: NewLook(tcp)}, other.(*net.TCPConn)
}

func TestAskTellsAnswerAndThatWritingFailed(t *testing.T) {
	c, other := asked(t)
	io.WriteString(other, "early")
	c.look.Wait()
	c.TCP.CloseWrite() // so that writing fails while there is something to read
	in := make([]byte, 16)
	sent, n, werr, err := c.Ask([]byte("request"), in)
	if sent != 0 || string(in[:n]) != "early" || werr == nil || err != nil {
		t.Errorf("sent %d, read %q, errors %v and %v, want 0, the answer, and one of writing", sent, in[:n], werr, err)
	}
}

func TestAskTellsThatWritingFailedIfNothingHasCome(t *testing.T) {
	c, _ := asked(t)
	c.TCP.CloseWrite()
	sent, n, werr, err := c.Ask([]byte("request"), make([]byte, 16))
	if sent != 0 || n != 0 || werr == nil || err != werr {
		t.Errorf("sent %d, read %d, errors %v and %v, want the error of writing twice", sent, n, werr, err)
	}
}

func TestAskSendsAndReads(t *testing.T) {
	c, other := asked(t)
	go func() {
		b := make([]byte, 7)
		io.ReadFull(other, b)
		other.Write(b)
	}()
	in := make([]byte, 16)
	sent, n, werr, err := c.Ask([]byte("request"), in)
	if sent != 7 || string(in[:n]) != "request" || werr != nil || err != nil {
		t.Errorf("sent %d, read %q, errors %v and %v", sent, in[:n], werr, err)
	}
}
