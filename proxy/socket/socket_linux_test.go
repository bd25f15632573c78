package socket

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
)

// pair is a connection over TCP, and the descriptor's owner of its second end.
func pair(t *testing.T) (*net.TCPConn, *net.TCPConn, syscall.RawConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	raw, err := b.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return a.(*net.TCPConn), b.(*net.TCPConn), raw
}

// await waits until something has come and calls read.
func await(t *testing.T, raw syscall.RawConn, read func(fd uintptr) (int, error)) (n int, err error) {
	t.Helper()
	if rerr := raw.Read(func(fd uintptr) bool {
		n, err = read(fd)
		return err != ErrAgain
	}); rerr != nil {
		t.Fatal(rerr)
	}
	return n, err
}

func TestReadTakesAndPeekLeavesWhatCame(t *testing.T) {
	a, _, raw := pair(t)
	buf := make([]byte, 8)
	raw.Control(func(fd uintptr) {
		if n, err := Read(fd, buf); n != 0 || err != ErrAgain {
			t.Errorf("before anything came: %d, %v", n, err)
		}
	})
	io.WriteString(a, "hello")
	for _, read := range []func(uintptr, []byte) (int, error){Peek, Read} {
		n, err := await(t, raw, func(fd uintptr) (int, error) { return read(fd, buf) })
		if string(buf[:n]) != "hello" || err != nil {
			t.Errorf("%q, %v", buf[:n], err)
		}
	}
	a.CloseWrite()
	if n, err := await(t, raw, func(fd uintptr) (int, error) { return Read(fd, buf) }); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

func TestWriteStopsWhereThereIsNoRoom(t *testing.T) {
	a, _, raw := pair(t)
	data := make([]byte, 64<<10)
	sent := 0
	raw.Control(func(fd uintptr) {
		for range 10_000 {
			n, err := Write(fd, data)
			if sent += n; err == ErrAgain {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
		t.Error("it was never full")
	})
	if n, err := io.CopyN(io.Discard, a, int64(sent)); err != nil {
		t.Errorf("%d of %d bytes came: %v", n, sent, err)
	}
}

func TestABrokenConnectionIsAnError(t *testing.T) {
	a, _, raw := pair(t)
	a.SetLinger(0)
	a.Close()
	if n, err := await(t, raw, func(fd uintptr) (int, error) { return Read(fd, make([]byte, 1)) }); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reading: %d, %v", n, err)
	}
	raw.Control(func(fd uintptr) {
		if _, err := Write(fd, []byte("x")); err == nil {
			t.Error("writing succeeded")
		}
	})
}

func TestErrAgainPassesForADeadline(t *testing.T) {
	if !ErrAgain.Timeout() || !errors.As(ErrAgain, new(net.Error)) {
		t.Error("it does not")
	}
}
