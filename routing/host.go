package routing

import (
	"fmt"
	"net/netip"
	"strings"
	"unsafe"
)

// maxHost is the greatest length of a host name that a route may have; no longer one matches any but routes for every
// host.
const maxHost = 253

// bareHost cuts the port and one dot at the end off a request's host, and the brackets off an IPv6 address.
func bareHost(host string) string {
	if len(host) > 0 && host[0] == '[' {
		if end := strings.IndexByte(host, ']'); end > 0 {
			return host[1:end]
		}
		return host
	}
	if i := strings.IndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i+1:], ':') < 0 {
		host = host[:i]
	}
	if n := len(host); n > 0 && host[n-1] == '.' {
		host = host[:n-1]
	}
	return host
}

// hasUpper reports whether there is an upper case ASCII letter in s.
func hasUpper(s string) bool {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			return true
		}
	}
	return false
}

// lower returns s, of at most maxHost bytes, in lower case. The string lies in buf and must not outlive it.
func lower(s string, buf *[maxHost]byte) string {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	return unsafe.String(&buf[0], len(s))
}

// hostPattern reads a route's host: a name, "*." and a name, or nothing. It returns the name in the form that
// [bareHost] and [lower] give to a request's.
func hostPattern(host string) (name string, wild bool, err error) {
	if host == "" {
		return "", false, nil
	}
	name, wild = strings.CutPrefix(strings.ToLower(host), "*.")
	if wild || name[0] != '[' && strings.Count(name, ":") < 2 {
		if strings.ContainsAny(name, ":[]") {
			return "", false, fmt.Errorf("the host %q has a port or brackets; want a name alone", clip(host))
		}
		name = strings.TrimSuffix(name, ".")
	} else {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	}
	switch {
	case name == "" || name[0] == '.':
		return "", false, fmt.Errorf("the host %q has an empty label", clip(host))
	case len(name) > maxHost:
		return "", false, fmt.Errorf("the host has %d bytes, at most %d are allowed", len(name), maxHost)
	case strings.Contains(name, "*"):
		return "", false, fmt.Errorf(`the host %q has a "*" that is not its first label; want "*.example.com"`, clip(host))
	}
	if strings.Contains(name, ":") {
		if _, err := netip.ParseAddr(name); err != nil {
			return "", false, fmt.Errorf("the host %q is no IPv6 address", clip(host))
		}
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("/?#@[]\\", c) >= 0 {
			return "", false, fmt.Errorf("%q is not allowed in the host %q", c, clip(host))
		}
	}
	return name, wild, nil
}

// clip bounds a foreign text for a message.
func clip(s string) string {
	const limit = 120
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
