package consul

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

// Options configure a [Source]. The zero value watches the agent at 127.0.0.1:8500.
type Options struct {
	// Name is the source's name; empty means consul.
	Name string
	// Address is the agent's host:port, unix:///path of its socket, or host:port/prefix behind a proxy; empty means
	// 127.0.0.1:8500. Several, with commas between them, are agents of one datacenter: one is asked at a time, and the
	// next when it fails.
	Address string
	// Scheme is http or https; empty means http.
	Scheme string
	// Token is the ACL token; empty means the agent's default, which is usually anonymous. It reads services and nodes.
	Token string
	// TokenFile holds the token instead. It is read at every start and after every failure, so that it may be rotated.
	TokenFile string
	// User and Password are for HTTP basic authentication, which a proxy before the agent may want.
	User, Password string
	// Datacenter is the one to watch; empty means the agent's.
	Datacenter string
	// Failover are the datacenters whose instances serve, the first that has any, while Datacenter has none of a service
	// that it knows.
	Failover []string
	// FailoverQuery names instead the prepared query that says where to fail over to: it is executed while Datacenter has
	// nobody to serve, and what it finds elsewhere serves. {service} in it stands for the service's name.
	FailoverQuery string
	// Namespace and Partition are those of Consul Enterprise; empty means the token's.
	Namespace, Partition string
	// Tag is what an instance must carry to be taken; empty takes every service but consul itself.
	Tag string
	// TaggedAddress is the tag of the addresses that backends are reached at where instances or nodes have one: lan, wan,
	// or another of Consul's; empty takes the plain ones.
	TaggedAddress string
	// TLS says how an https agent is verified.
	TLS TLS
	// Liveness bounds the time without any answer after which the agent counts as gone; 0 means 10 s.
	Liveness time.Duration
	// Wait is how long one blocking query asks the agent to wait for a change; 0, and more than three quarters of
	// Liveness, mean three quarters of Liveness.
	Wait time.Duration
	// MaxStale is how far behind its leader a server may be whose word is taken; 0 means Liveness.
	MaxStale time.Duration
	// Decoder judges policies; nil takes them unseen.
	Decoder discovery.Decoder
	// Logger tells of services that cannot be read for a while; nil means no log. Outages and rejected items are told to
	// the sink alone.
	Logger *slog.Logger
}

// TLS says how an https agent is verified, and what it is shown. The zero value verifies the agent's host name against
// the system's authorities.
type TLS struct {
	// CAFile holds authorities (PEM) instead of the system's; CAPath is a directory of such files.
	CAFile, CAPath string
	// CertFile and KeyFile are the client's pair (PEM), read at every handshake.
	CertFile, KeyFile string
	// ServerName is verified instead of the address' host.
	ServerName string
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool
}

// withDefaults fills in defaults and reports what cannot work.
func (o Options) withDefaults() (Options, error) {
	if o.Name == "" {
		o.Name = "consul"
	}
	if o.Scheme == "" {
		o.Scheme = "http"
	}
	if o.Address == "" {
		o.Address = "127.0.0.1:8500"
	}
	if o.Liveness == 0 {
		o.Liveness = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.Scheme != "http" && o.Scheme != "https":
		return o, fmt.Errorf("consul: the scheme %q is not http or https", o.Scheme)
	case o.Liveness < 0 || o.Wait < 0 || o.MaxStale < 0:
		return o, errors.New("consul: Liveness, Wait and MaxStale must not be negative")
	case o.Token != "" && o.TokenFile != "":
		return o, errors.New("consul: both a token and a token file are given; leave one out")
	case slices.Contains(o.Failover, "") || slices.Contains(o.Failover, o.Datacenter):
		return o, errors.New("consul: the datacenters to fail over to must have names, and be others than the one that is watched")
	case len(o.Failover) > 0 && o.FailoverQuery != "":
		return o, errors.New("consul: both datacenters to fail over to and a prepared query that names them are given; leave one out")
	case strings.ContainsAny(strings.ReplaceAll(o.FailoverQuery, serviceVariable, ""), "/?#% {}"):
		return o, fmt.Errorf("consul: the prepared query %q is none; want a name or an ID, in which %s stands for the service's name",
			o.FailoverQuery, serviceVariable)
	case (o.TLS.CertFile == "") != (o.TLS.KeyFile == ""):
		return o, errors.New("consul: a client certificate needs its key and a key its certificate; give both or neither")
	case !slices.Contains(taggedAddresses(), o.TaggedAddress):
		return o, fmt.Errorf("consul: the tagged address is %q; want one of %s", o.TaggedAddress, strings.Join(taggedAddresses()[1:], ", "))
	case strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return o, errors.New("consul: the token has characters that no token has")
	}
	for _, address := range o.addresses() {
		if strings.HasPrefix(address, "unix://") {
			continue
		}
		if err := checkAddress(address); err != nil {
			return o, err
		}
	}
	if o.MaxStale == 0 {
		o.MaxStale = o.Liveness
	}
	if longest := o.Liveness * 3 / 4; o.Wait == 0 || o.Wait > longest {
		o.Wait = longest
	}
	return o, nil
}

// fails reports whether others are asked for a service that has nobody to serve.
func (o Options) fails() bool { return len(o.Failover) > 0 || o.FailoverQuery != "" }

// addresses are those of the agents.
func (o Options) addresses() []string { return strings.Split(o.Address, ",") }

// taggedAddresses are the tags of addresses that Consul has.
func taggedAddresses() []string {
	return []string{"", "lan", "wan", "lan_ipv4", "lan_ipv6", "wan_ipv4", "wan_ipv6"}
}

func checkAddress(address string) error {
	hostport, _, _ := strings.Cut(address, "/")
	host, port, err := net.SplitHostPort(hostport)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("consul: the address %q is not host:port", address)
	}
	if _, err := discovery.ParseURL(hostport); err != nil {
		return fmt.Errorf("consul: the address: %w", err)
	}
	return nil
}

// config makes the TLS configuration of connections to the agent.
func (t TLS) config() (*tls.Config, error) {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify,
	}
	files, err := t.authorities()
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("consul: the authorities: %w", err)
		}
		if c.RootCAs == nil {
			c.RootCAs = x509.NewCertPool()
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("consul: the authorities: %s holds no certificate in PEM", file)
		}
	}
	if t.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile); err != nil {
			return nil, fmt.Errorf("consul: the client certificate: %w", err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			return &pair, err
		}
	}
	return c, nil
}

func (t TLS) authorities() ([]string, error) {
	var files []string
	if t.CAFile != "" {
		files = append(files, t.CAFile)
	}
	if t.CAPath == "" {
		return files, nil
	}
	entries, err := os.ReadDir(t.CAPath)
	if err != nil {
		return nil, fmt.Errorf("consul: the authorities: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			files = append(files, filepath.Join(t.CAPath, e.Name()))
		}
	}
	return files, nil
}
