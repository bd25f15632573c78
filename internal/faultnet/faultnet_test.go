package faultnet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that sends back what it gets, and a proxy in front of it.
func echo(t *testing.T) *Proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); io.Copy(c, c) })
		}
	})
	p, err := New(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); p.Close(); wg.Wait() })
	return p
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ping sends a word and awaits it back within the time.
func ping(c net.Conn, within time.Duration) error {
	c.SetDeadline(time.Now().Add(within))
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 5))
	return err
}

func TestBytesPassBothWays(t *testing.T) {
	c := dial(t, echo(t))
	for range 3 {
		if err := ping(c, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAHalfCloseArrives(t *testing.T) {
	c := dial(t, echo(t))
	c.Write([]byte("last"))
	c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "last" {
		t.Errorf("got %q, %v; want last and no error", got, err)
	}
}

func TestACutResetsAndRefusesUntilHealed(t *testing.T) {
	p := echo(t)
	c := dial(t, p)
	if err := ping(c, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if err := ping(c, 10*time.Second); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the cut connection says %v, want a reset", err)
	}
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialling says %v, want refused", err)
	}
	if err := p.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := ping(dial(t, p), 10*time.Second); err != nil {
		t.Errorf("after Heal: %v", err)
	}
}

func TestAFreezeHoldsBytesUntilHealed(t *testing.T) {
	p := echo(t)
	c := dial(t, p)
	if err := ping(c, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	p.Freeze()
	if err := ping(c, 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the frozen connection says %v, want a timeout", err)
	}
	if err := ping(dial(t, p), 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a new connection says %v, want a timeout", err)
	}
	if err := p.Heal(); err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Errorf("what was held back did not come: %v", err)
	}
}

func TestCloseEndsFrozenConnections(t *testing.T) {
	p := echo(t)
	c := dial(t, p)
	p.Freeze()
	c.Write([]byte("x"))
	p.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read says %v, want the end of the connection", err)
	}
}
