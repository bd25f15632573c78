package proxy

import (
	"net/netip"
	"strings"
)

// client is who a request comes from.
type client struct {
	// addr is the client's address, as far as it is to be believed.
	addr netip.Addr
	// peer is the address that the connection comes from, and its text.
	peer netip.Addr
	text string
	// trusted says that the peer is a proxy whose word is kept.
	trusted bool
	secure  bool
}

// identify says who sent the request.
func (p *Proxy) identify(r *request, h fields, own *element) client {
	c := client{addr: r.Peer, peer: r.Peer, secure: r.TLS != "", trusted: p.trusts(r.Peer)}
	if r.Peer.IsValid() {
		c.text = own.textOf(r.Peer)
	}
	if c.trusted {
		c.addr = p.realAddr(r.Peer, forwardedForName.in(h))
	}
	return c
}

// realAddr goes back along X-Forwarded-For for as long as trusted proxies wrote it, and returns the first address that
// is not one of theirs, or the last that could be read.
func (p *Proxy) realAddr(addr netip.Addr, values []string) netip.Addr {
	for i := len(values) - 1; i >= 0; i-- {
		for rest, more := values[i], true; more; {
			var item string
			if j := strings.LastIndexByte(rest, ','); j >= 0 {
				item, rest = rest[j+1:], rest[:j]
			} else {
				item, more = rest, false
			}
			next, ok := parseForwardedAddr(strings.TrimSpace(item))
			if !ok {
				return addr
			}
			if addr = next; !p.trusts(addr) {
				return addr
			}
		}
	}
	return addr
}

// parseForwardedAddr reads an address of X-Forwarded-For, which some write with a port.
func parseForwardedAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		return ap.Addr().Unmap().WithZone(""), err == nil
	}
	return a.Unmap().WithZone(""), true
}

func (p *Proxy) trusts(a netip.Addr) bool {
	for _, prefix := range *p.trusted.Load() {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// forward sets the forwarding fields of a request for that host. What it makes is kept in own, for the next request.
func (c *client) forward(h fields, host string, own *element) {
	proto := "http"
	if c.secure {
		proto = "https"
	}
	chain, forwarded := c.text, own.of(c, host, proto)
	if c.trusted {
		if before := strings.Join(forwardedForName.in(h), ", "); before != "" {
			chain = before + ", " + chain
		}
		if before := strings.Join(forwardedName.in(h), ", "); before != "" {
			forwarded = before + ", " + forwarded
		}
	} else {
		for i := range claims {
			claims[i].dropFrom(h)
		}
	}
	if c.text != "" {
		forwardedForName.put(h, chain)
	} else if !c.trusted {
		forwardedForName.dropFrom(h)
	}
	forwardedName.put(h, forwarded)
	if !c.trusted || len(forwardedProtoName.in(h)) == 0 {
		forwardedProtoName.put(h, proto)
	}
	if !c.trusted || len(forwardedHostName.in(h)) == 0 {
		if host != "" {
			forwardedHostName.put(h, host)
		} else {
			forwardedHostName.dropFrom(h)
		}
	}
}

// element is the element of Forwarded that was made last: the requests of one connection mostly want the same.
type element struct {
	peer        netip.Addr
	peerText    string
	host, proto string
	text        string
}

// textOf is the peer's address as text.
func (e *element) textOf(peer netip.Addr) string {
	if e.peer != peer {
		*e = element{peer: peer, peerText: peer.String()}
	}
	return e.peerText
}

// of returns the element for a client and a host.
func (e *element) of(c *client, host, proto string) string {
	if e.text == "" || e.peer != c.peer || e.host != host || e.proto != proto {
		var buf [192]byte
		*e = element{peer: c.peer, peerText: c.text, host: host, proto: proto}
		e.text = string(appendForwarded(buf[:0], c.peer, c.text, host, proto))
	}
	return e.text
}

// appendForwarded appends an element of Forwarded (RFC 7239, 4): what is no token is quoted.
func appendForwarded(dst []byte, peer netip.Addr, text, host, proto string) []byte {
	dst = append(dst, "for="...)
	switch {
	case text == "":
		dst = append(dst, "unknown"...)
	case peer.Is6():
		dst = append(append(append(dst, `"[`...), text...), `]"`...)
	default:
		dst = append(dst, text...)
	}
	if host != "" {
		dst = append(append(append(dst, `;host="`...), host...), '"') // a valid host has nothing to escape
	}
	return append(append(dst, ";proto="...), proto...)
}
