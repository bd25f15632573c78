//go:build !linux

package http1

import (
	"errors"
	"syscall"
)

const canSplice = false

var errNoPipe = errors.New("http1: no pipe")

// splicer would carry content from socket to socket, for which only Linux has a call.
type splicer struct{}

func (*splicer) take(syscall.RawConn, int) (int, error) { return 0, errNoPipe }
func (*splicer) give(syscall.RawConn, func()) error     { return errNoPipe }
