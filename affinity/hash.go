package affinity

import (
	"crypto/sha256"
	"net/netip"
)

// addrKey is an address as a key, zero for none. IPv4 and IPv4-mapped addresses are one; zones do not matter.
func addrKey(a netip.Addr) key {
	if !a.IsValid() {
		return key{}
	}
	return a.As16()
}

// client is the part of an address that tells clients apart.
func (c *config) client(a netip.Addr) netip.Addr {
	if c.AddressIPv6Prefix >= 128 || !a.Is6() || a.Is4In6() {
		return a
	}
	p, err := a.WithZone("").Prefix(c.AddressIPv6Prefix)
	if err != nil {
		return a
	}
	return p.Addr()
}

// HeaderKey is [Session.Key] of a client of a service that is told by that value of a header.
func HeaderKey(service, value string) [16]byte { return hashKey("header", service, value) }

// hashKey is the key of what a client of a service is told by: half of a SHA-256, so that nobody finds another client's
// key, and the value is not written down. Long values are hashed piece by piece, each behind the hash of those before.
func hashKey(kind, service, value string) (k key) {
	var buf [512]byte
	b := append(append(append(append(buf[:0], kind...), 0), service...), 0)
	for len(b)+len(value) > len(buf) {
		n := len(buf) - len(b)
		sum := sha256.Sum256(append(b, value[:n]...))
		b, value = append(buf[:0], sum[:]...), value[n:]
	}
	sum := sha256.Sum256(append(b, value...))
	copy(k[:], sum[:])
	return k
}
