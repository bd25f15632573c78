package socket

import (
	"syscall"
	"unsafe"
)

// Can says that this system has what the package offers.
const Can = true

// Read reads what has come. The error is [ErrAgain] if nothing has; 0 without an error is the end.
func Read(fd uintptr, p []byte) (int, error) { return receive(fd, p, 0) }

// Peek is Read without taking anything.
func Peek(fd uintptr, p []byte) (int, error) { return receive(fd, p, syscall.MSG_PEEK) }

// receive is recvfrom(2): read(2) would pass through the file system's layer first.
func receive(fd uintptr, p []byte, flags uintptr) (int, error) {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags|syscall.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, ErrAgain
		default:
			return 0, e
		}
	}
}

// Waiting is how many bytes have come that were not read.
func Waiting(fd uintptr) int {
	var n int32
	if _, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&n))); e != 0 {
		return 0
	}
	return int(n)
}

// WakeAt has the poller tell of what comes only once so many bytes wait, or the end has come, or there is no room for more;
// it does so at once if that is so already. The system makes room for twice as many, or takes fewer for enough.
func WakeAt(fd uintptr, n int) {
	v := int32(n)
	syscall.RawSyscall6(syscall.SYS_SETSOCKOPT, fd, syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0)
}

// Write writes as much as there is room for. The error is [ErrAgain] if there is none.
func Write(fd uintptr, p []byte) (int, error) {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, ErrAgain
		default:
			return 0, e
		}
	}
}
