//go:build !linux

package socket

// Can says that this system has what the package offers.
const Can = false

// Read always returns [ErrAgain].
func Read(uintptr, []byte) (int, error) { return 0, ErrAgain }

// Peek always returns [ErrAgain].
func Peek(uintptr, []byte) (int, error) { return 0, ErrAgain }

// Waiting always returns 0.
func Waiting(uintptr) int { return 0 }

// WakeAt does nothing.
func WakeAt(uintptr, int) {}

// Write always returns [ErrAgain].
func Write(uintptr, []byte) (int, error) { return 0, ErrAgain }
