package socket

import "net"

// ErrAgain says that a call would have had to wait. It is a [net.Error] that passes, as a deadline's is, so that readers
// which are told of it lose nothing.
var ErrAgain net.Error = again{}

type again struct{}

func (again) Error() string   { return "nothing has come" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }
