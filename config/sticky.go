package config

import "strings"

// checkCookiePath is the rule of a cookie's path (RFC 6265, 4.1.1).
func checkCookiePath(s string) *fault {
	if f := checkPath(s); f != nil {
		return f
	}
	if strings.ContainsAny(s, ";\"") || !ascii(s) {
		return mustBe("a path of ASCII characters without ; and \"", s, "")
	}
	return nil
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// checkCookieDomain is the rule of a cookie's domain: a host name of at least one character, whose leading dot clients ignore.
func checkCookieDomain(s string) *fault {
	name := strings.TrimPrefix(s, ".")
	if name == "" || len(name) > maxNameLen || !isAlnum(name[0]) || !only(name, "-.") || strings.Contains(name, "..") {
		return mustBe("a domain such as example.com", s, "")
	}
	return nil
}

// checkSticky looks at what does not go together. What is said elsewhere is not known here, so that only keys of one block
// are compared.
func checkSticky(d *decoder, n *node, to *Overlay) {
	text := func(key string) string { s, _ := to.given["sticky_session."+key].(string); return s }
	if text("type") == "header" && text("header_name") == "" && !d.overlay { // the file may name it
		d.child(n, "header_name", "is missing", "name the header field that tells clients apart")
	}
	if text("cookie_same_site") == "none" && text("cookie_secure") == "never" {
		d.child(n, "cookie_secure", "is never, and clients take no cookie of cookie_same_site none then", "use auto or always")
	}
	name := text("cookie_name")
	host := strings.HasPrefix(name, "__Host-")
	if (host || strings.HasPrefix(name, "__Secure-")) && text("cookie_secure") == "never" {
		d.child(n, "cookie_secure", "is never, and clients take no cookie of the name "+name+" then", "use auto or always")
	}
	if path := text("cookie_path"); host && path != "" && path != "/" {
		d.child(n, "cookie_path", "is "+path+", and clients take a cookie of the name "+name+" with the path / alone", "take it out")
	}
	if host && text("cookie_domain") != "" {
		d.child(n, "cookie_domain", "is given, and clients take a cookie of the name "+name+" without one alone", "take it out")
	}
}
