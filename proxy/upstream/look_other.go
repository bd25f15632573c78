//go:build !linux

package upstream

// seen is nothing where nobody is asked.
type seen struct{}

// poll sees nothing: that a connection ended shows when it is used.
func (*seen) poll(uintptr) condition { return condition{} }

const canLook = false
