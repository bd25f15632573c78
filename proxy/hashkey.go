package proxy

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/vietddude/load-balancer/balance"
	"github.com/vietddude/load-balancer/routing"
)

// hashKey is what the exchange has in common with others that consistent hashing is to send to the same backend. A
// request without the header field, cookie or parameter goes wherever chance has it. It is worked out before the fields of
// the request are changed.
func (x *exchange) hashKey(h *routing.Hash) uint64 {
	found, value := false, ""
	switch h.By {
	case routing.HashHeader:
		value, found = firstOf(x.req.Header, h.Name)
	case routing.HashCookie:
		value, found = cookieOf(x.req.Header, h.Name)
	case routing.HashPath:
		value, found = x.req.Path, true
	case routing.HashQuery:
		value, found = parameterOf(x.req.Target, h.Name)
	default:
		return hashAddr(x.client.addr)
	}
	if !found {
		return rand.Uint64()
	}
	return balance.Hash(value)
}

// hashAddr takes IPv6 addresses by their first 64 bits: the rest is the client's own, and changes.
func hashAddr(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return balance.HashNumber(uint64(binary.BigEndian.Uint32(b[:])))
	}
	b := a.As16()
	return balance.HashNumber(binary.BigEndian.Uint64(b[:]))
}

// viewer gives a header's values without copying them: they are valid until the head is read anew.
type viewer interface {
	// view returns the value of the first field of that name from the index on, and the index after it; less than 0 if
	// there is none.
	view(name string, from int) (value string, next int)
}

// each calls f with the values of a field until it returns true.
func each(h routing.Header, name string, f func(string) bool) {
	if v, ok := h.(viewer); ok {
		for value, next := v.view(name, 0); next >= 0; value, next = v.view(name, next) {
			if f(value) {
				return
			}
		}
		return
	}
	if h == nil {
		return
	}
	for _, value := range h.Values(name) {
		if f(value) {
			return
		}
	}
}

// firstOf is the value of the first field of that name.
func firstOf(h routing.Header, name string) (value string, ok bool) {
	each(h, name, func(v string) bool {
		value, ok = v, true
		return true
	})
	return value, ok
}

// cookieOf is the value of the first cookie of that name (RFC 6265, 4.2.1), quotes and all.
func cookieOf(h routing.Header, name string) (value string, ok bool) {
	each(h, "Cookie", func(field string) bool {
		for more := true; more && !ok; {
			var pair string
			pair, field, more = strings.Cut(field, ";")
			if rest, is := strings.CutPrefix(strings.Trim(pair, " \t"), name); is && strings.HasPrefix(rest, "=") {
				value, ok = rest[1:], true
			}
		}
		return ok
	})
	return value, ok
}

// parameterOf is the value of the first parameter of that name in a target's query, as it stands there.
func parameterOf(target, name string) (value string, ok bool) {
	_, query, more := strings.Cut(target, "?")
	for more {
		var pair string
		pair, query, more = strings.Cut(query, "&")
		if rest, is := strings.CutPrefix(pair, name); is && (rest == "" || rest[0] == '=') {
			return strings.TrimPrefix(rest, "="), true
		}
	}
	return "", false
}
