package proxyproto

import "net/netip"

// Header is what a proxy says of a connection. Both addresses are valid or neither is: a connection that the proxy made
// for itself, such as a health check, or whose ends have no addresses, has none, and is the proxy's own.
type Header struct {
	// Source is where the client connected from, Destination what it connected to.
	Source, Destination netip.AddrPort
}

// Version is a version of the protocol.
type Version uint8

// The versions there are; 0 is none.
const (
	V1 Version = 1
	V2 Version = 2
)

// MaxLen bounds a header, in bytes. Version 1 has at most 107; version 2 could have 64 KiB of additions, of which those
// that are in use, certificates included, need a fraction.
const MaxLen = 4 << 10

// maxText is how long a header of version 1 is at most, its line end included.
const maxText = 107

// signature begins a header of version 2.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// begin is how much is read to tell the versions apart. Each header has more.
const begin = len(signature)

// Of version 2: the bytes behind the signature, and their values.
const (
	fixedLen = 16 // signature, version and command, family and transport, length

	localCommand = 0x20
	proxyCommand = 0x21

	noFamily = 0x00
	tcp4     = 0x11
	tcp6     = 0x21
	unixSock = 0x31

	tcp4Len = 2*4 + 2*2
	tcp6Len = 2*16 + 2*2
	unixLen = 2 * 108
)
