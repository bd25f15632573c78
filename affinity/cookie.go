package affinity

import (
	"crypto/sha256"
	"strconv"
	"strings"
	"time"
)

// markLen is the length of the mark that each cookie value begins with.
const markLen = 8

// markOf is the mark of a service: 48 bits of a hash of its name, in base64url. It is no secret; it only tells whose a
// value is without opening it.
func markOf(service string) string {
	sum := sha256.Sum256([]byte("session mark\x00" + service))
	return encoding.EncodeToString(sum[:markLen*6/8])
}

// ownerMark is the mark that a cookie value begins with, empty if it is not of the form of any service's value.
func ownerMark(value string) string {
	if len(value) <= markLen {
		return ""
	}
	for i := range len(value) {
		c := value[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return ""
		}
	}
	// Values are a mark and 22 characters (an identifier) or at least 50 (a sealed session).
	if n := len(value) - markLen; n != idLen && n < encoding.EncodedLen(nonceSize+expirySize+1+tagSize) {
		return ""
	}
	return value[:markLen]
}

// nextCookie cuts the first cookie off a Cookie field's value (RFC 6265, 4.2.1), with blanks and quotes removed.
// Malformed parts come out as they are, under whatever name they have.
func nextCookie(field string) (name, value, rest string) {
	pair, rest, _ := strings.Cut(field, ";")
	name, value, _ = strings.Cut(pair, "=")
	value = trimBlanks(value)
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return trimBlanks(name), value, rest
}

func trimBlanks(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// beginSetCookie appends a Set-Cookie field's value up to the value behind the mark, which the attributes follow.
func beginSetCookie(dst []byte, name, mark string) []byte {
	dst = append(dst, name...)
	dst = append(dst, '=')
	return append(dst, mark...)
}

// attributes are what follows a cookie's value. Scripts never reach it.
func (o *Options) attributes(secure bool) string {
	b := append([]byte("; Path="), o.CookiePath...)
	if o.CookieDomain != "" {
		b = append(append(b, "; Domain="...), o.CookieDomain...)
	}
	b = append(b, "; Max-Age="...)
	b = strconv.AppendInt(b, int64(max(o.Timeout/time.Second, 1)), 10)
	b = append(b, "; HttpOnly"...)
	switch {
	case o.CookieSameSite == "strict":
		b = append(b, "; SameSite=Strict"...)
	case o.CookieSameSite != "none":
		b = append(b, "; SameSite=Lax"...)
	case secure:
		b = append(b, "; SameSite=None"...)
	}
	if secure {
		b = append(b, "; Secure"...)
	}
	return string(b)
}

// secure reports whether the cookie of a client goes over TLS alone.
func (o *Options) secure(overTLS bool) bool {
	return o.CookieSecure == "always" || o.CookieSecure != "never" && overTLS
}
