package config

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"
)

// DefaultService is the name of the service that the top level's backends make up.
const DefaultService = "default"

// MaxWeight is the greatest weight of a backend; the least is 0, which takes nothing new.
const MaxWeight = 1000

// Config is a whole configuration. [Default], [Parse] and [Load] make one; a caller that changes it afterwards asks
// [Config.Validate] whether it still makes sense. Reading it concurrently is safe.
type Config struct {
	// Zone is where the balancer stands; empty for nowhere in particular.
	Zone string
	// Position is its place among the balancers that share its backends.
	Position Position
	// Listen are the addresses that clients connect to; there is at least one.
	Listen []Listener
	// Defaults are the policy keys given at the top level of the file and in the environment, over the built-in ones.
	Defaults Overlay
	// Backends are those of the service [DefaultService].
	Backends []Backend
	// Services are the blocks under services: in the file.
	Services map[string]Service
	// Routes are in the order of the file. Their names are unique.
	Routes []Route
	// Discovery are the URLs of sources in order of precedence, the strongest first, as they were written. Only their
	// scheme has been checked. They may hold passwords: show them by [RedactURL].
	Discovery []string
	// DefaultService answers what no route matches; empty means what [Config.CatchAll] says.
	DefaultService string
	// DefaultDomain is the suffix of services' default host names.
	DefaultDomain string
	// SessionKey seals session cookies; empty means that the balancer makes one up, which others do not know.
	SessionKey Secret
	// SessionKeys are given instead: the first seals, all open.
	SessionKeys []Secret
	Fleet       Fleet
	Announce    Announce
	Prometheus  Prometheus
	Admin       Admin
	Limits      Limits
	// ShutdownTimeout is how long exchanges under way may take to finish once the balancer is told to stop.
	ShutdownTimeout time.Duration
	// ForgetAfter is how long a service that nothing announces any more is kept.
	ForgetAfter time.Duration
	// Merge is what becomes of services that several sources announce: "union", "priority" or "shadow".
	Merge string
	// Guard says when a source is not believed that most of what it announced is gone.
	Guard    Guard
	Snapshot Snapshot
	// TrustedProxies are the addresses whose forwarding headers are believed.
	TrustedProxies []netip.Prefix
	AccessLog      AccessLog
	Log            Log

	// where tells the place of each key that was given, for the problems of Validate.
	where map[string]pos
}

// Position is a balancer's place among others. The zero value does not know it.
type Position struct {
	// Index is its number, from 0, and Of how many there are; 0 if that is not known.
	Index, Of int
}

// CatchAll is the service that answers what no route matches: DefaultService, else "default" if there are backends at
// the top level, else none (the empty name).
func (c *Config) CatchAll() string {
	if c.DefaultService == "" && len(c.Backends) > 0 {
		return DefaultService
	}
	return c.DefaultService
}

// ServiceNames are the names of all services that the configuration speaks of, sorted.
func (c *Config) ServiceNames() []string {
	names := make([]string, 0, len(c.Services)+1)
	for name := range c.Services {
		names = append(names, name)
	}
	if _, ok := c.Services[DefaultService]; !ok && len(c.Backends) > 0 {
		names = append(names, DefaultService)
	}
	slices.Sort(names)
	return names
}

// ServiceBackends are the backends that the configuration itself gives to a service.
func (c *Config) ServiceBackends(name string) []Backend {
	if name == DefaultService && len(c.Backends) > 0 {
		return c.Backends
	}
	return c.Services[name].Backends
}

// Listener is one address that clients connect to.
type Listener struct {
	// Port is 0 to 65535; 0 takes a free one.
	Port int
	// Address is an IP address or host name; empty means all addresses of the machine.
	Address       string
	TLS           TLS
	ProxyProtocol ProxyProtocol
}

// ProxyProtocol says whose connections begin with a PROXY header, of either version.
type ProxyProtocol struct {
	// From are the networks of the proxies that send it; no others may.
	From []netip.Prefix
}

// TLS says how a listener encrypts.
type TLS struct {
	Enabled bool
	// Certificates are chosen among by SNI; the first is the default. cert_file and key_file come first.
	Certificates []Certificate
	// ReloadInterval is how often the files are looked at for changes.
	ReloadInterval time.Duration
	// MinVersion and MaxVersion are of crypto/tls; MaxVersion 0 means the highest there is.
	MinVersion, MaxVersion uint16
	// CipherSuites are those allowed up to TLS 1.2, as in crypto/tls; nil means Go's choice.
	CipherSuites []uint16
}

// Certificate is a pair of PEM files; relative paths start at the working directory.
type Certificate struct{ CertFile, KeyFile string }

// Backend is one address that serves requests.
type Backend struct {
	ID string
	// URL is scheme://host:port with scheme http or https.
	URL string
	// Weight is 0 to [MaxWeight].
	Weight int
	Zone   string
}

// Service is a block under services: the policy of one service and, possibly, backends.
type Service struct {
	Policy   Overlay
	Backends []Backend
	// Merge goes before [Config.Merge]; empty says nothing.
	Merge string
}

// Guard holds back removals of most of what a source announced.
type Guard struct {
	// Mode is "hold", "strict" or "off".
	Mode string
	// Window is the time within which removals are added up, Hold how long they are held.
	Window, Hold time.Duration
	// MaxRemoval is the share of the source's backends, 0.01 to 1, of which no more may go.
	MaxRemoval float64
	// MinBackends is how many backends a source must have for its removals to be looked at.
	MinBackends int
}

// Snapshot says where the last known good state is kept.
type Snapshot struct {
	// Path is a file; empty for none.
	Path string
}

// Prometheus says whether and where the listeners serve metrics. The admin address always does.
type Prometheus struct {
	Enabled bool
	Path    string
}

// Admin is the address of the API and the dashboard.
type Admin struct {
	// Address is host:port; port 0 takes a free one.
	Address string
	// Token must be presented by those who ask; empty asks for none and is possible on a loopback address only.
	Token Secret
}

// Limits bound what one client can take.
type Limits struct {
	// HeadBytes bounds a request's head.
	HeadBytes int
	// HeadTimeout bounds the time from a request's first byte to the end of its head.
	HeadTimeout time.Duration
	// IdleTimeout bounds the wait for the next request on a connection.
	IdleTimeout time.Duration
	// HeadFields bounds the fields of a request's head.
	HeadFields int
	// Requests bounds those on one connection, 0 for any number.
	Requests int
	// Connections bounds those that clients have open in all, ConnectionsPerAddress those from one address; 0 for none.
	Connections, ConnectionsPerAddress int
}

// Fleet says what replicas share.
type Fleet struct {
	Enabled bool
	// Store is the URL of an etcd or a Consul; empty means the first etcd among [Config.Discovery].
	Store string
	// ID names this replica; empty means one made of host name and port.
	ID  string
	TTL time.Duration
}

// Announce says how the balancer registers itself as a backend: not at all if Service is empty.
type Announce struct {
	Service string
	// URL is scheme://host:port; empty means that of the first listener.
	URL    string
	ID     string
	Weight int
	Zone   string
	// Stores are the URLs of where; none means every etcd and Consul of [Config.Discovery].
	Stores     []string
	TTL, Drain time.Duration
}

// SessionSecrets are the configured secrets of sessions, that which seals first; none if none are configured.
func (c *Config) SessionSecrets() []Secret {
	if len(c.SessionKeys) > 0 {
		return c.SessionKeys
	}
	if c.SessionKey != "" {
		return []Secret{c.SessionKey}
	}
	return nil
}

// AccessLog says where the log of exchanges goes.
type AccessLog struct {
	// Path is a file to append to, "-" for standard output, empty for none.
	Path string
	// Format is "json" or "common".
	Format string
}

// Log says what the balancer tells of itself, on standard error.
type Log struct {
	Level slog.Level
	// Format is "text" or "json".
	Format string
}
