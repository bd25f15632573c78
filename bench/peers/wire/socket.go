//go:build linux

package wire

import (
	"fmt"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// connectTimeout bounds a connect, and with it a proxy that does not accept.
	connectTimeout = 5 * time.Second
	backlog        = 4096
	// chunk is the most that one call sends or takes of a large body.
	chunk = 1 << 20
)

// Dial connects to an IPv4 address and port and returns a socket that does not block.
func Dial(addr string) (int, error) {
	to, err := address(addr)
	if err != nil {
		return -1, err
	}
	fd, err := socket()
	if err != nil {
		return -1, err
	}
	timeout := unix.NsecToTimeval(connectTimeout.Nanoseconds())
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err == nil {
		err = unix.Connect(fd, to)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return fd, nil
}

// Listen listens on a free port of 127.0.0.1 and returns a socket that does not block, and its address.
func Listen() (fd int, addr string, err error) {
	if fd, err = socket(); err != nil {
		return -1, "", err
	}
	local := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err = unix.Bind(fd, local); err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	var bound unix.Sockaddr
	if err == nil {
		bound, err = unix.Getsockname(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, "", fmt.Errorf("listen: %w", err)
	}
	return fd, fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port), nil
}

// Accept takes a connection; unix.EAGAIN means that there is none.
func Accept(listener int) (int, error) {
	fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return -1, err
	}
	return fd, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

func socket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("TCP_NODELAY: %w", err)
	}
	return fd, nil
}

func address(addr string) (*unix.SockaddrInet4, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil || !ap.Addr().Is4() {
		return nil, &net.AddrError{Err: "not an IPv4 address and port", Addr: addr}
	}
	return &unix.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())}, nil
}

// Discard takes up to n bytes out of a socket without copying them anywhere. It returns what [unix.Read] does.
func Discard(fd int, n int64) (int64, error) {
	var nowhere byte // MSG_TRUNC leaves it alone
	got, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&nowhere)),
		uintptr(min(n, chunk)), unix.MSG_TRUNC, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int64(got), nil
}

// Body is a large body that sockets are sent from without copying.
type Body struct {
	fd int
	// Size is its length in bytes.
	Size int64
}

// NewBody makes a body that lasts as long as the process.
func NewBody(content []byte) (*Body, error) {
	fd, err := unix.MemfdCreate("body", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	for rest := content; len(rest) > 0; {
		n, err := unix.Write(fd, rest)
		if err != nil {
			return nil, fmt.Errorf("write to a memory file: %w", err)
		}
		rest = rest[n:]
	}
	return &Body{fd: fd, Size: int64(len(content))}, nil
}

// Send sends what follows an offset and returns how much went; unix.EAGAIN means that the socket takes nothing now.
func (b *Body) Send(fd int, offset int64) (int64, error) {
	n, err := unix.Sendfile(fd, b.fd, &offset, int(min(b.Size-offset, chunk)))
	return int64(max(n, 0)), err
}

// SendHead sends bytes that a body follows at once: they leave with its beginning.
func SendHead(fd int, head []byte) (int, error) {
	return unix.SendmsgN(fd, head, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
}
