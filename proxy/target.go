package proxy

import "strings"

// originForm is the target as a backend is asked (RFC 9112, 3.2.1): path and query as they came. An absolute form loses
// its scheme and authority. It reports false for a target that is neither.
func originForm(method, target string) (string, bool) {
	if strings.IndexByte(target, '#') >= 0 { // no target has a fragment; some servers cut there, others do not
		return "", false
	}
	if target == "*" {
		return target, method == "OPTIONS"
	}
	if strings.HasPrefix(target, "/") {
		return target, true
	}
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", false
	}
	i := strings.IndexAny(rest, "/?")
	switch {
	case i == 0: // no authority
		return "", false
	case i < 0 && rest == "":
		return "", false
	case i < 0 && method == "OPTIONS": // RFC 9112, 3.2.4
		return "*", true
	case i < 0:
		return "/", true
	case rest[i] == '?':
		return "/" + rest[i:], true
	}
	return rest[i:], true
}

// stripPrefix removes the prefix from the front of a target's path, if it stands there and ends at a segment's border.
// The prefix is compared with the decoded path; what is left is as the client sent it and begins with a slash.
//
//	"/api" from "/api/a%2Fb?q" leaves "/a%2Fb?q"; from "/%61pi" it leaves "/"; "/apis" stays
func stripPrefix(target, prefix string) string {
	if prefix == "" || prefix == "/" || target == "*" {
		return target
	}
	i := 0
	for j := range len(prefix) {
		if i >= len(target) || target[i] == '?' {
			return target
		}
		c, n := target[i], 1
		if c == '%' && i+2 < len(target) {
			if hi, lo := unhex(target[i+1]), unhex(target[i+2]); hi >= 0 && lo >= 0 {
				c, n = byte(hi<<4|lo), 3
			}
		}
		if c != prefix[j] {
			return target
		}
		i += n
	}
	rest := target[i:]
	switch {
	case strings.HasPrefix(rest, "/"):
		return rest
	case rest == "", rest[0] == '?', strings.HasSuffix(prefix, "/"):
		return "/" + rest
	}
	return target
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// validHost reports whether a Host field or authority is a host and perhaps a port. Empty is what a client says that
// knows no name.
func validHost(h string) bool {
	for i := range len(h) {
		switch c := h[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == '_', c == ':', c == '[', c == ']', c == '~', c == '%':
		case strings.IndexByte("!$&'()*+;=", c) >= 0:
		default: // a comma too: the fields that tell backends of the host are lists
			return false
		}
	}
	return true
}
