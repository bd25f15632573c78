package config

import (
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
)

// maxNameLen is the greatest length of a service's, route's or backend's name.
const maxNameLen = 253

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// only reports whether all bytes of a text are alphanumeric or among the others.
func only(s, others string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && strings.IndexByte(others, s[i]) < 0 {
			return false
		}
	}
	return true
}

// checkName is the rule of service and route names: they serve as host names, labels and keys.
func checkName(s string) *fault {
	if s == "" || len(s) > maxNameLen || !isAlnum(s[0]) || !only(s, "-_.") {
		return mustBe("a name of 1 to 253 letters, digits, '-', '_' and '.' that begins with a letter or digit", s, "")
	}
	return nil
}

// checkID is the rule of backend ids.
func checkID(s string) *fault {
	bad := s == "" || len(s) > maxNameLen || s == "." || s == ".."
	for i := range len(s) {
		bad = bad || s[i] <= ' ' || s[i] >= 0x7f || s[i] == '/'
	}
	if bad {
		return mustBe("1 to 253 printable ASCII characters without spaces and '/'", s, "")
	}
	return nil
}

// checkToken is the rule of header names, methods and cookie names (RFC 9110, section 5.6.2).
func checkToken(s string) *fault {
	if s == "" || len(s) > maxNameLen || !only(s, "!#$%&'*+-.^_`|~") {
		return mustBe("a word of letters, digits and !#$%&'*+-.^_`|~", s, "")
	}
	return nil
}

func checkMethod(s string) *fault {
	if f := checkToken(s); f != nil {
		return f
	}
	if upper := strings.ToUpper(s); s != upper {
		switch upper {
		case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
			http.MethodConnect, http.MethodOptions, http.MethodTrace:
			return &fault{quote(s) + " is not a method: their case matters", "write " + upper}
		}
	}
	return nil
}

// headerName brings the name of a header field to its canonical form.
func headerName(s string) (string, *fault) {
	if f := checkToken(s); f != nil {
		return "", f
	}
	name := textproto.CanonicalMIMEHeaderKey(s)
	if name == "Host" {
		return "", &fault{"cannot be matched as a header", "use host"}
	}
	return name, nil
}

func checkHeaderValue(s string) *fault {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return &fault{"holds a control character", ""}
		}
	}
	if s != strings.TrimSpace(s) {
		return &fault{"begins or ends with a space, which no header's value does", ""}
	}
	return nil
}

// checkPath is the rule of paths that requests are matched by.
func checkPath(s string) *fault {
	if !strings.HasPrefix(s, "/") {
		return mustBe("a path that begins with /", s, "")
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '?' || r == '#' }); i >= 0 {
		return &fault{"must be a path alone: " + quote(s[i:i+1]) + " cannot be part of one", ""}
	}
	return nil
}

// checkTarget is the rule of paths that are asked for: a query may follow.
func checkTarget(s string) *fault {
	path, _, _ := strings.Cut(s, "?")
	if f := checkPath(path); f != nil {
		return mustBe("a path that begins with /", s, "")
	}
	if strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '#' }) >= 0 {
		return mustBe("a path without spaces", s, "write %20 for a space")
	}
	return nil
}

// hostPattern brings the host of a route to lower case.
func hostPattern(s string) (string, *fault) {
	const want = "a host name, or *. and a domain"
	host := strings.ToLower(s)
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return ip.String(), nil
	}
	if name, port, err := net.SplitHostPort(host); err == nil && name != "" && port != "" {
		return "", mustBe(want, s, "leave the port out: a route matches every port")
	}
	if host == "*" {
		return "", mustBe(want, s, "leave host out to match every host")
	}
	if !validHost(strings.TrimPrefix(host, "*.")) {
		return "", mustBe(want, s, "")
	}
	return strings.TrimSuffix(host, "."), nil
}

// validHost reports whether s could be a host's name.
func validHost(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > maxNameLen {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || !only(label, "-_") || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

func checkHost(s string) *fault {
	if !validHost(s) {
		return mustBe("a host name", s, "")
	}
	return nil
}

func domain(s string) (string, *fault) {
	if f := checkHost(s); f != nil {
		return "", f
	}
	return strings.ToLower(strings.TrimSuffix(s, ".")), nil
}

// listenAddress is the address of a listener without its port.
func listenAddress(s string) (string, *fault) {
	const want = "an IP address or host name, or empty for all addresses"
	host := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if _, err := netip.ParseAddr(host); err == nil || s == "" || validHost(s) {
		return host, nil
	}
	if _, _, err := net.SplitHostPort(s); err == nil {
		return "", mustBe(want, s, "the port goes to port")
	}
	return "", mustBe(want, s, "")
}

// hostPort is an address with its port.
func hostPort(s string) (string, *fault) {
	const want = "host:port"
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", mustBe(want, s, "for example 127.0.0.1:9901")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", mustBe(want+" with a port from 0 to 65535", s, "")
	}
	if _, f := listenAddress(host); f != nil {
		return "", mustBe(want, s, "")
	}
	return s, nil
}

// loopback reports whether an address with a port can be reached from its own machine only.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || host == "localhost"
}

// backendURL is a backend's address as scheme://host:port.
func backendURL(s string) (string, *fault) {
	const want = "http://host:port, https://host:port or host:port"
	shown := s
	s, explicit := strings.TrimSuffix(s, "/"), strings.Contains(s, "://")
	if !explicit {
		s = "http://" + s
	}
	refused := func(hint string) (string, *fault) { return "", mustBe(want, RedactURL(shown), hint) }
	u, err := url.Parse(s)
	if err != nil {
		return refused("")
	}
	_, err = netip.ParseAddr(u.Hostname())
	port, n := u.Port(), uint64(0)
	switch {
	case u.User != nil:
		return "", &fault{"must not carry a user or password", "write " + want}
	case u.Scheme != "http" && u.Scheme != "https":
		return refused("the schemes are http and https")
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return refused("leave out what follows the port")
	case err != nil && !validHost(u.Hostname()):
		return refused("")
	case port == "" && (!explicit || strings.HasSuffix(u.Host, ":")):
		return refused("give a port")
	case port == "" && u.Scheme == "https":
		port = "443"
	case port == "":
		port = "80"
	}
	if n, err = strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return refused("ports are 1 to 65535")
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), strconv.FormatUint(n, 10)), nil
}

// discoveryURL checks what every source's URL has: a known scheme. The rest is the source's own.
func discoveryURL(s string) (string, *fault) {
	scheme, rest, full := strings.Cut(s, "://")
	words := []string{"consul", "etcd", "embedded", "file"}
	const hint = "for example consul://127.0.0.1:8500, etcd://127.0.0.1:2379/lb, file:///etc/lb/backends.yaml; or consul, etcd or embedded alone"
	for _, w := range words {
		if scheme != w {
			continue
		}
		switch {
		case full && rest == "" && w != "embedded", !full && w == "file":
			return "", &fault{"names no place after " + w, hint}
		case strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) >= 0:
			return "", &fault{"holds a space or control character", "write %20 for a space"}
		}
		return s, nil
	}
	if near := nearest(scheme, words); near != "" && full {
		return "", &fault{"has an unknown scheme " + quote(scheme), "did you mean " + near + "://?"}
	}
	return "", &fault{"must be the URL of a source, not " + quote(RedactURL(s)), hint}
}

// storeURL is the URL of a source that can be written to.
func storeURL(s string) (string, *fault) {
	url, f := discoveryURL(s)
	if f == nil && strings.HasPrefix(s, "file") {
		return "", &fault{"is a file, which nothing is written to", "for example etcd://127.0.0.1:2379/lb"}
	}
	return url, f
}

// network is a CIDR; a single address is a network of its own.
func network() kind[netip.Prefix] {
	return kind[netip.Prefix]{
		name: "IP network",
		parse: func(s string) (netip.Prefix, *fault) {
			if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
				return netip.PrefixFrom(ip, ip.BitLen()), nil
			}
			p, err := netip.ParsePrefix(s)
			if err != nil {
				return p, mustBe("an IP network like 10.0.0.0/8", s, "")
			}
			if p != p.Masked() {
				return p, &fault{quote(s) + " has bits set beyond its prefix", "write " + p.Masked().String()}
			}
			return p, nil
		},
		format: netip.Prefix.String,
	}
}
