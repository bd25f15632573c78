//go:build linux

package netlab

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace. It lasts as long as the file, or a process or socket in it.
type namespace struct{ file *os.File }

// device is the name of the one interface that a namespace has beside its loopback.
const device = "eth0"

// newNamespace makes a namespace whose interface has the address, and returns the interface's other end too.
func newNamespace(addr netip.Prefix) (ns namespace, tap *os.File, err error) {
	err = onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		file, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		if tap, err = newTap(); err == nil {
			err = configure(addr)
		}
		if err != nil {
			file.Close()
			return err
		}
		ns = namespace{file}
		return nil
	})
	return ns, tap, err
}

// newTap makes the interface of the thread's namespace. Frames that it sends are read from the file.
func newTap() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(device)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make a TAP interface: %w", err)
	}
	return os.NewFile(uintptr(fd), "tap"), nil
}

// configure gives the thread's namespace its address and sets its interfaces up.
func configure(addr netip.Prefix) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ip := addr.Addr().As4()
	mask := netip.AddrFrom4([4]byte{255, 255, 255, 0}).As4()
	for _, step := range []struct {
		device  string
		request uint
		value   func(*unix.Ifreq) error
	}{
		{device, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(ip[:]) }},
		{device, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask[:]) }},
		{device, unix.SIOCSIFFLAGS, up},
		{"lo", unix.SIOCSIFFLAGS, up},
	} {
		req, err := unix.NewIfreq(step.device)
		if err == nil {
			err = step.value(req)
		}
		if err == nil {
			err = unix.IoctlIfreq(s, step.request, req)
		}
		if err != nil {
			return fmt.Errorf("configure %s: %w", step.device, err)
		}
	}
	return nil
}

func up(r *unix.Ifreq) error {
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return nil
}

// in calls f on a thread that is in the namespace: sockets and processes that it makes are of the namespace.
func (n namespace) in(f func() error) error {
	return onOwnThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}

// onOwnThread calls f on a thread that may change its namespace, and puts it back into the process's.
func onOwnThread(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	defer func() {
		// A thread that cannot go back stays locked, and is not used for anything else.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}
