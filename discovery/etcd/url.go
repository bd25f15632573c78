package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const usage = "want etcd://[user:password@]host:2379[,host:2379…][/prefix][?cert=&key=&ca=&scheme=https&insecure=&dial_timeout=&liveness=&format=&feedback=]"

// ParseURL reads the URL form of the options, as --discovery takes it:
//
//	etcd://[user:password@]h1:2379,h2:2379[/prefix][?cert=FILE&key=FILE&ca=FILE&scheme=https&insecure=true&dial_timeout=5s&liveness=10s&format=lb&feedback=true]
//
// and etcd alone, which takes from the environment what etcdctl takes: ETCDCTL_ENDPOINTS (127.0.0.1:2379 when empty),
// ETCDCTL_USER, ETCDCTL_PASSWORD, ETCDCTL_CACERT, ETCDCTL_CERT, ETCDCTL_KEY, ETCDCTL_INSECURE_SKIP_TLS_VERIFY and
// ETCDCTL_DIAL_TIMEOUT. So does a URL without hosts, as etcd:///prefix. A URL with a user but no password takes
// ETCDCTL_PASSWORD. A nil env is an empty environment. Special characters in user and password are percent-encoded. No error holds the password.
//
// The prefix of a format whose keys begin without a slash, endpoints and go-zero, is the path without its first one.
//
// A certificate's files are read now, to tell mistakes early, and the client's own pair again at each connection.
func ParseURL(raw string, env func(string) string) (Options, error) {
	rest, ok := strings.CutPrefix(raw, "etcd:")
	if !ok && raw != "etcd" {
		return Options{}, errors.New("this is no etcd URL; " + usage)
	}
	if raw == "etcd" {
		rest = ""
	}
	if ok && !strings.HasPrefix(rest, "//") {
		return Options{}, errors.New("etcd: the URL has no //; " + usage)
	}
	if env == nil {
		env = func(string) string { return "" }
	}
	rest, query, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "?")
	hosts, prefix, _ := strings.Cut(rest, "/")
	if strings.Contains(prefix, "@") || strings.Contains(query, "@") {
		// Most likely a password with a slash or question mark; so nothing of it is repeated.
		return Options{}, errors.New("etcd: the URL has an @ behind a / or ?; percent-encode these characters in user and password (%2F, %3F), and a real @ as %40")
	}

	params, err := readQuery(query)
	if err != nil {
		return Options{}, err
	}
	f, err := formatOf(params.format)
	if err != nil {
		return Options{}, fmt.Errorf("etcd: %w", err)
	}
	o := Options{Name: "etcd", Prefix: f.prefix, Format: params.format}
	if p := strings.TrimRight(prefix, "/"); p != "" {
		text, err := url.PathUnescape(p)
		if err != nil {
			return Options{}, fmt.Errorf("etcd: the prefix %q: %w", p, err)
		}
		// Where keys begin with a slash the URL's own is that of the prefix. Elsewhere it takes a second one.
		if o.Prefix = text; f.rooted {
			o.Prefix = "/" + strings.TrimLeft(text, "/")
		}
	}
	if params.insecure != "" && params.scheme == "" {
		params.scheme = "https" // asking not to verify is asking for TLS
	}
	if hosts == "" {
		err = o.fromEnv(env, &params)
	} else {
		err = o.fromHosts(hosts, env)
	}
	if err != nil {
		return Options{}, err
	}
	if err := o.apply(params); err != nil {
		return Options{}, err
	}
	if _, err := New(o); err != nil {
		return Options{}, err
	}
	return o, nil
}

// parameters is what a URL's query, or the environment in its place, asks for. Empty means not asked.
type parameters struct {
	cert, key, ca, scheme, insecure, dialTimeout, liveness, format, feedback string
}

func readQuery(query string) (p parameters, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return p, fmt.Errorf("etcd: the URL's options: %w; %s", err, usage)
	}
	fields := map[string]*string{
		"cert": &p.cert, "key": &p.key, "ca": &p.ca, "scheme": &p.scheme, "insecure": &p.insecure,
		"dial_timeout": &p.dialTimeout, "liveness": &p.liveness, "format": &p.format, "feedback": &p.feedback,
	}
	for name, vs := range values {
		field, ok := fields[name]
		if !ok {
			return p, fmt.Errorf("etcd: the URL's option %q is not known; %s", name, usage)
		}
		if len(vs) != 1 {
			return p, fmt.Errorf("etcd: the URL's option %q is given %d times", name, len(vs))
		}
		*field = vs[0]
	}
	return p, nil
}

// fromHosts reads [user:password@]host,host.
func (o *Options) fromHosts(hosts string, env func(string) string) error {
	if i := strings.LastIndexByte(hosts, '@'); i >= 0 {
		if err := o.login(hosts[:i], true); err != nil {
			return err
		}
		hosts = hosts[i+1:]
		if o.Password == "" {
			o.Password = env("ETCDCTL_PASSWORD")
		}
	}
	o.Endpoints = strings.Split(hosts, ",")
	return nil
}

// fromEnv reads the environment of etcdctl; what the URL says goes first.
func (o *Options) fromEnv(env func(string) string, p *parameters) error {
	o.Endpoints = []string{"127.0.0.1:2379"}
	if list := env("ETCDCTL_ENDPOINTS"); list != "" {
		o.Endpoints = strings.Split(list, ",")
		for i := range o.Endpoints {
			o.Endpoints[i] = strings.TrimSpace(o.Endpoints[i])
		}
	}
	if user := env("ETCDCTL_USER"); user != "" {
		if err := o.login(user, false); err != nil {
			return err
		}
		if o.Password == "" {
			o.Password = env("ETCDCTL_PASSWORD")
		}
	}
	for field, name := range map[*string]string{
		&p.ca: "ETCDCTL_CACERT", &p.cert: "ETCDCTL_CERT", &p.key: "ETCDCTL_KEY",
		&p.insecure: "ETCDCTL_INSECURE_SKIP_TLS_VERIFY", &p.dialTimeout: "ETCDCTL_DIAL_TIMEOUT",
	} {
		if *field == "" {
			*field = env(name)
		}
	}
	return nil
}

// login reads user:password.
func (o *Options) login(text string, escaped bool) error {
	user, password, _ := strings.Cut(text, ":")
	if escaped {
		var err1, err2 error
		user, err1 = url.PathUnescape(user)
		password, err2 = url.PathUnescape(password)
		if err1 != nil || err2 != nil {
			return errors.New("etcd: the URL's user or password is not percent-encoded rightly; write % as %25")
		}
	}
	if user == "" {
		return errors.New("etcd: there is a password but no user name; " + usage)
	}
	o.Username, o.Password = user, password
	return nil
}

// apply sets what the parameters ask for.
func (o *Options) apply(p parameters) (err error) {
	if o.DialTimeout, err = duration("dial_timeout", p.dialTimeout); err != nil {
		return err
	}
	if o.Liveness, err = duration("liveness", p.liveness); err != nil {
		return err
	}
	if p.feedback != "" {
		if o.Feedback, err = strconv.ParseBool(p.feedback); err != nil {
			return fmt.Errorf("etcd: feedback is %q; want true or false", p.feedback)
		}
	}
	insecure := false
	if p.insecure != "" {
		if insecure, err = strconv.ParseBool(p.insecure); err != nil {
			return fmt.Errorf("etcd: insecure is %q; want true or false", p.insecure)
		}
	}
	secure := p.cert != "" || p.key != "" || p.ca != ""
	for _, e := range o.Endpoints {
		secure = secure || strings.HasPrefix(e, "https://")
	}
	switch p.scheme {
	case "https":
		secure = true
	case "http":
		if secure {
			return errors.New("etcd: scheme=http goes with no cert, key, ca or https endpoint")
		}
	case "":
	default:
		return fmt.Errorf("etcd: the scheme is %q; want http or https", p.scheme)
	}
	if !secure {
		return nil
	}
	if slices.ContainsFunc(o.Endpoints, func(e string) bool { return strings.HasPrefix(e, "http://") }) {
		return errors.New("etcd: there are TLS options, but an endpoint is http; use https")
	}
	o.TLS, err = clientTLS(p.cert, p.key, p.ca, insecure)
	return err
}

func duration(name, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("etcd: %s is %q; want a duration like 5s", name, text)
	}
	return d, nil
}

// clientTLS reads the files; each may be empty.
func clientTLS(cert, key, ca string, insecure bool) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: insecure}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("etcd: the authority's certificate: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("etcd: %s holds no PEM certificate", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, errors.New("etcd: cert and key go together; one of them is missing")
	}
	if cert != "" {
		p := &pair{cert: cert, key: key}
		if _, err := p.load(nil); err != nil {
			return nil, fmt.Errorf("etcd: the certificate and key %s and %s: %w", cert, key, err)
		}
		c.GetClientCertificate = p.load
	}
	return c, nil
}

// pair is the client's certificate and key as they lie in their files now; a pair that cannot be read leaves the last
// good one in force.
type pair struct {
	cert, key string

	mu   sync.Mutex
	last *tls.Certificate // guarded by mu
}

func (p *pair) load(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(p.cert, p.key)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.last = &c
	}
	if p.last == nil {
		return nil, err
	}
	return p.last, nil
}
