package etcd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vietddude/load-balancer/discovery"
)

// Defaults of [Options].
const (
	DefaultPrefix      = "/lb"
	DefaultDialTimeout = 5 * time.Second
	DefaultLiveness    = 10 * time.Second
)

// Options configure a [Source]. Only Endpoints are needed.
type Options struct {
	// Name is the source's name; empty means etcd.
	Name string
	// Endpoints are the members to connect to, each as host:port, http://host:port or https://host:port, all of one
	// scheme. The port may be left out and is 2379 then.
	Endpoints []string
	// Prefix is where the keys lie; empty means that of the format, [DefaultPrefix] for our own. It is read as a folder,
	// with or without its last slash.
	Prefix string
	// Format is who writes the keys and values, one of [Formats]; empty means [FormatLB].
	Format string
	// Feedback asks whoever runs the source to write back what it rejects. It means nothing to the source itself, and goes
	// with our own format alone.
	Feedback bool
	// Username and Password log in when the store asks for it.
	Username, Password string
	// TLS is used for endpoints without http://; nil means a clear connection, or the system's authorities for https://.
	TLS *tls.Config
	// DialTimeout bounds connecting and each request but the watch; 0 and less mean [DefaultDialTimeout].
	DialTimeout time.Duration
	// Liveness is how long the watch may be silent before it is given up; 0 and less mean [DefaultLiveness].
	Liveness time.Duration
	// Decoder reads routes and checks policies; without one, both are rejected.
	Decoder discovery.Decoder
}

// New returns a source. Its error names the option that cannot be; whether the store can be reached is found by
// [Source.Run].
func New(o Options) (*Source, error) {
	if o.Name == "" {
		o.Name = "etcd"
	}
	if err := discovery.CheckName(o.Name); err != nil {
		return nil, fmt.Errorf("etcd: the source's name: %w", err)
	}
	endpoints, err := checkEndpoints(o.Endpoints, o.TLS != nil)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	o.Endpoints = endpoints
	if o.Username == "" && o.Password != "" {
		return nil, errors.New("etcd: there is a password but no user name")
	}
	if o.Username != "" && o.Password == "" {
		return nil, fmt.Errorf("etcd: the user %q has no password", o.Username)
	}
	prefix, f, err := o.layout()
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	o.Prefix = prefix
	if o.Feedback && o.Format != "" && o.Format != FormatLB {
		return nil, fmt.Errorf("etcd: feedback goes with the format %s alone: nothing of ours is written among the keys of %s", FormatLB, o.Format)
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = DefaultDialTimeout
	}
	if o.Liveness <= 0 {
		o.Liveness = DefaultLiveness
	}
	return &Source{opts: o, format: f, pageSize: 1000, maxMessage: 64 << 20}, nil
}

// layout is the prefix, with its last slash unless it is empty, and the format.
func (o Options) layout() (string, format, error) {
	f, err := formatOf(o.Format)
	if err != nil {
		return "", f, err
	}
	prefix := o.Prefix
	if prefix == "" {
		prefix = f.prefix
	}
	if prefix = strings.TrimRight(prefix, "/"); prefix != "" || f.rooted {
		prefix += "/"
	}
	return prefix, f, nil
}

// keys is the range of keys that the source reads, in etcd's terms. Prefix must be complete.
func (o Options) keys() (first, end string) {
	first = o.Prefix
	if first == "" {
		first = "\x00" // the least key there is
	}
	return first, clientv3.GetPrefixRangeEnd(o.Prefix)
}

// checkEndpoints returns the endpoints with their ports.
func checkEndpoints(endpoints []string, hasTLS bool) ([]string, error) {
	if len(endpoints) == 0 {
		return nil, errors.New("no endpoints; want at least one host:port")
	}
	schemes := map[string]bool{}
	full := make([]string, 0, len(endpoints))
	for i, e := range endpoints {
		scheme, addr, ok := strings.Cut(e, "://")
		if !ok {
			scheme, addr = "", e
		}
		if strings.Contains(addr, "@") {
			// The text is not repeated: it may hold a password.
			return nil, fmt.Errorf("endpoint %d holds a user or password; they go before the first endpoint of the URL, or into their own options", i+1)
		}
		if scheme != "" && scheme != "http" && scheme != "https" {
			return nil, fmt.Errorf("endpoint %q: the scheme must be http or https", e)
		}
		addr, err := withPort(strings.TrimSuffix(addr, "/"))
		if err != nil {
			return nil, fmt.Errorf("endpoint %q: %w", e, err)
		}
		if scheme == "http" && hasTLS {
			return nil, fmt.Errorf("endpoint %q is http, but there are TLS options; use https", e)
		}
		schemes[scheme] = true
		if scheme != "" {
			addr = scheme + "://" + addr
		}
		full = append(full, addr)
	}
	if len(schemes) > 1 {
		return nil, fmt.Errorf("the endpoints %s mix schemes; use one for all", strings.Join(full, ", "))
	}
	return full, nil
}

// withPort adds etcd's port where there is none and checks both parts.
func withPort(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port = strings.Trim(addr, "[]"), "2379"
		if strings.Contains(host, ":") && !strings.HasPrefix(addr, "[") {
			return "", errors.New("want host:port, with an IPv6 address in brackets")
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("the port %q is not 1 to 65535", port)
	}
	// The address is checked as a backend's would be.
	if _, err := discovery.ParseURL("http://" + net.JoinHostPort(host, port)); err != nil {
		return "", err
	}
	return net.JoinHostPort(host, port), nil
}
