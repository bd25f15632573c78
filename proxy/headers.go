package proxy

import (
	"net/textproto"
	"slices"
	"strings"
)

// hopByHop are the fields of one connection (RFC 9110, 7.6.1), those that were once used as such included.
var hopByHop = allNamed(
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade",
)

// claims are fields by which proxies in front of us tell of a client, besides those that are set here.
var claims = allNamed(
	"X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Real-Ip",
)

// disguised reports whether backends that make variables of fields, as CGI does, would take a field for one that is set
// here or that only proxies may set: X_Forwarded_For is HTTP_X_FORWARDED_FOR too. No proxy sends such names.
func disguised(name string) bool {
	if strings.IndexByte(name, '_') < 0 {
		return false
	}
	switch name = textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-")); name {
	case "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host":
		return true
	}
	return slices.ContainsFunc(claims, func(c fieldName) bool { return c.text == name })
}

// removeHopByHop removes the fields that concern one connection only.
func removeHopByHop(h fields) {
	for _, v := range connectionName.in(h) {
		for name := range strings.SplitSeq(v, ",") {
			if name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name)); name != "" && !endToEnd(name) {
				h.Del(name)
			}
		}
	}
	for i := range hopByHop {
		hopByHop[i].dropFrom(h)
	}
}

// endToEnd reports whether a field stays although Connection names it: without it the message would be another one, and
// RFC 9110, 7.6.1, forbids to name it.
func endToEnd(name string) bool {
	return name == "Host" || name == "Content-Length" || name == "Cache-Control"
}

// hasToken reports whether a list of tokens, over all its fields, holds the token, whatever its case.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(textproto.TrimString(t), token) {
				return true
			}
		}
	}
	return false
}

// acceptsTrailers reports whether TE fields ask for trailers; "trailers;q=0.5" does too.
func acceptsTrailers(te []string) bool {
	for _, v := range te {
		for t := range strings.SplitSeq(v, ",") {
			t, _, _ = strings.Cut(t, ";")
			if strings.EqualFold(textproto.TrimString(t), "trailers") {
				return true
			}
		}
	}
	return false
}

// upgradeOf is the protocol that a message asks or agrees to switch to, empty for none.
func upgradeOf(h fields) string {
	if !hasToken(connectionName.in(h), "upgrade") {
		return ""
	}
	return strings.Join(upgradeName.in(h), ", ")
}

// forwardRequest makes a client's header that for a backend: connection fields go, forwarding fields are set. It
// returns the protocol that the client asks to switch to, which passes unless it is h2c.
func forwardRequest(h fields, c *client, host string, upgradable bool, own *element) (upgrade string) {
	if upgradable {
		upgrade = upgradeOf(h)
	}
	trailers := acceptsTrailers(teName.in(h))
	removeHopByHop(h)
	if upgrade != "" && (strings.HasPrefix(strings.ToLower(upgrade), "h2c") || hasToken([]string{upgrade}, "h2c")) {
		upgrade = ""
	}
	switch {
	case upgrade != "":
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", upgrade)
	case trailers:
		h.Set("Connection", "TE")
		h.Set("Te", "trailers")
	}
	http2SettingsName.dropFrom(h)
	c.forward(h, host, own)
	return upgrade
}

// forwardResponse makes a backend's header that for the client.
func forwardResponse(h fields, status int) {
	upgrade := ""
	if status == 101 {
		upgrade = upgradeOf(h)
	}
	removeHopByHop(h)
	if status == 204 {
		contentLengthName.dropFrom(h) // RFC 9110, 8.6: some clients would wait for that body
	}
	if upgrade != "" {
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", upgrade)
	}
}
