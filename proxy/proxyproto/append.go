package proxyproto

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// Append appends the header in that version. One without addresses says that the connection is the sender's own.
func (h Header) Append(dst []byte, v Version) []byte {
	source, dest := h.Source.Addr().Unmap().WithZone(""), h.Destination.Addr().Unmap().WithZone("")
	known := source.IsValid() && dest.IsValid()
	if known && source.Is4() != dest.Is4() { // one family is told for both
		source, dest = netip.AddrFrom16(source.As16()), netip.AddrFrom16(dest.As16())
	}
	if v == V1 {
		return h.appendText(dst, known, source, dest)
	}
	dst = append(dst, signature...)
	if !known {
		return append(dst, localCommand, noFamily, 0, 0)
	}
	if source.Is4() {
		dst = append(dst, proxyCommand, tcp4, 0, tcp4Len)
	} else {
		dst = append(dst, proxyCommand, tcp6, 0, tcp6Len)
	}
	dst = append(dst, source.AsSlice()...)
	dst = append(dst, dest.AsSlice()...)
	dst = binary.BigEndian.AppendUint16(dst, h.Source.Port())
	return binary.BigEndian.AppendUint16(dst, h.Destination.Port())
}

func (h Header) appendText(dst []byte, known bool, source, dest netip.Addr) []byte {
	if !known {
		return append(dst, "PROXY UNKNOWN\r\n"...)
	}
	family := "PROXY TCP6 "
	if source.Is4() {
		family = "PROXY TCP4 "
	}
	dst = append(source.AppendTo(append(dst, family...)), ' ')
	dst = append(dest.AppendTo(dst), ' ')
	dst = append(strconv.AppendUint(dst, uint64(h.Source.Port()), 10), ' ')
	return append(strconv.AppendUint(dst, uint64(h.Destination.Port()), 10), "\r\n"...)
}
