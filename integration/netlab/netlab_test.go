//go:build linux

package netlab

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// echo serves a host's port 7.
func echo(h *Host) {
	ln := h.Listen(7)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			h.OnClose(func() { c.Close() })
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
}

// roundTrip sends a byte and waits for its return.
func roundTrip(c net.Conn, within time.Duration) error {
	if _, err := c.Write([]byte{'x'}); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(within))
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

func dial(t *testing.T, from, to *Host) net.Conn {
	t.Helper()
	c, err := from.Dial(t.Context(), "tcp4", to.Addr(7))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestHostsReachEachOther(t *testing.T) {
	l := New(t)
	a, b := l.Host("a"), l.Host("b")
	echo(b)
	for _, from := range []*Host{l.Client(), a} {
		if err := roundTrip(dial(t, from, b), 10*time.Second); err != nil {
			t.Errorf("%s cannot reach b: %v", from.Name, err)
		}
	}
}

func TestACutLinkIsSilentAndHeals(t *testing.T) {
	l := New(t)
	a := l.Host("a")
	echo(a)
	c := dial(t, l.Client(), a)
	if err := roundTrip(c, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	l.OneWay(a, l.Client(), Cut)
	if err := roundTrip(c, 300*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("over a link that is cut one way: %v, want nothing", err)
	}
	l.Heal()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Errorf("what was sent while the link was cut does not come after: %v", err)
	}
}

func TestALinkDelays(t *testing.T) {
	l := New(t)
	a := l.Host("a")
	echo(a)
	c := dial(t, l.Client(), a)
	l.Between(l.Client(), a, Fault{Delay: 100 * time.Millisecond})
	start := time.Now()
	if err := roundTrip(c, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 200*time.Millisecond {
		t.Errorf("a round trip over 100 ms each way takes %v", took)
	}
}
