package discovery

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// MaxNameLen is the greatest length in bytes of a service's or backend's name.
const MaxNameLen = 253

// CheckName reports why a name cannot be that of a service or route: it is 1 to [MaxNameLen] letters, digits, '-',
// '_' and '.', beginning with a letter or digit. A service's name serves as host name, label and key.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > MaxNameLen:
		return fmt.Errorf("the name has %d bytes, at most %d are allowed", len(name), MaxNameLen)
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && (i == 0 || c != '-' && c != '_' && c != '.') {
			return fmt.Errorf("%q is not allowed at position %d of the name %q; use letters, digits, '-', '_' and '.'", c, i+1, name)
		}
	}
	return nil
}

// CheckID reports why an ID cannot be a backend's: it is 1 to [MaxNameLen] printable ASCII characters without spaces
// and slashes. Consul's and cloud providers' instance IDs pass.
func CheckID(id string) error {
	switch {
	case id == "":
		return errors.New("the id is empty")
	case len(id) > MaxNameLen:
		return fmt.Errorf("the id has %d bytes, at most %d are allowed", len(id), MaxNameLen)
	case id == "." || id == "..":
		return fmt.Errorf("%q cannot be an id", id)
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; c <= ' ' || c >= 0x7f || c == '/' {
			return fmt.Errorf("%q is not allowed at position %d of the id %q; use printable ASCII without spaces and '/'", c, i+1, id)
		}
	}
	return nil
}

// ParseURL reads a backend's address as people write it (http://10.0.0.5:8080, https://api.internal, 10.0.0.5:8080,
// [::1]:8080) and returns it as scheme://host:port. Without a scheme http is meant; with one the port may be left out.
func ParseURL(s string) (string, error) {
	if normal(s) {
		return s, nil
	}
	return parseURL(s)
}

func parseURL(s string) (string, error) {
	const want = "want http://host:port, https://host:port or host:port"
	if s == "" {
		return "", errors.New("the address is empty; " + want)
	}
	if strings.Contains(s, "@") {
		// The text is not repeated: what stands before the @ may be a password.
		return "", errors.New("an address must not carry a user or password; " + want)
	}
	text, explicit := s, strings.Contains(s, "://")
	if !explicit {
		text = "http://" + s
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%q is no address (%v); %s", clip(s), reason(err), want)
	}
	port := u.Port()
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("the scheme %q of %q is not supported; %s", u.Scheme, clip(s), want)
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "", u.ForceQuery:
		return "", fmt.Errorf("%q has more than an address; %s", clip(s), want)
	case !validHost(u.Hostname()):
		return "", fmt.Errorf("%q has no valid host; %s", clip(s), want)
	case port == "" && !explicit, port == "" && strings.HasSuffix(u.Host, ":"):
		return "", fmt.Errorf("%q has no port; %s", clip(s), want)
	case port == "":
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("the port %q of %q is not 1 to 65535; %s", port, clip(s), want)
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port), nil
}

// normal reports whether an address of the plainest kind is as [ParseURL] returns it: most are, and catalogs are great.
func normal(s string) bool {
	rest, ok := strings.CutPrefix(s, "http://")
	if !ok {
		if rest, ok = strings.CutPrefix(s, "https://"); !ok {
			return false
		}
	}
	host, port, ok := strings.Cut(rest, ":")
	if !ok || host == "" || len(host) > MaxNameLen || port == "" || len(port) > 5 || port[0] == '0' {
		return false
	}
	for i := 0; i < len(host); i++ {
		if c := host[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	n := 0
	for i := 0; i < len(port); i++ {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
		n = 10*n + int(port[i]-'0')
	}
	return n <= 65535
}

// validHost reports whether h is an IP address or a host name that a resolver could be asked for.
func validHost(h string) bool {
	if strings.Contains(h, ":") {
		_, err := netip.ParseAddr(h)
		return err == nil
	}
	if h == "" || len(h) > MaxNameLen {
		return false
	}
	for i := 0; i < len(h); i++ {
		c := h[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return true
}

// reason is the inner error of a *url.Error, which otherwise repeats the whole text.
func reason(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// clip bounds a foreign text for a message.
func clip(s string) string {
	const limit = 120
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
