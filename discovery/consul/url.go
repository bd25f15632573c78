package consul

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// URLForm is what [ParseURL] reads, for messages.
const URLForm = "consul://[token@]host[:port][,host[:port]…][?dc=&failover=dc2,dc3&failover_query=&tag=&scheme=http|https&ca=&cert=&key=&namespace=&partition=" +
	"&server_name=&token_file=&verify=false&wait=&liveness=&max_stale=&address=lan|wan]"

// ParseURL reads what --discovery takes: a URL like [URLForm], or the word consul alone, which takes everything from
// the environment that Consul's own tools read (CONSUL_HTTP_ADDR, _TOKEN, _TOKEN_FILE, _AUTH, _SSL, _SSL_VERIFY,
// CONSUL_CACERT, _CAPATH, _CLIENT_CERT, _CLIENT_KEY, _TLS_SERVER_NAME, _NAMESPACE, _PARTITION). A URL takes but one
// thing from there, when it has none itself: the token, since command lines can be read by others. No error holds a
// token.
func ParseURL(raw string, env func(string) string) (Options, error) {
	if raw == "consul" || raw == "consul://" {
		return fromEnv(env)
	}
	raw, others := cutHosts(raw)
	u, err := url.Parse(raw)
	switch {
	case err != nil: // the error would repeat what may be a token
		return Options{}, errors.New("consul: the URL cannot be read; want " + URLForm)
	case u.Scheme != "consul":
		return Options{}, fmt.Errorf("consul: the scheme %q is not consul; want %s", u.Scheme, URLForm)
	case u.Opaque != "" || u.Hostname() == "":
		return Options{}, errors.New("consul: the URL has no host; want " + URLForm)
	case u.Path != "" && u.Path != "/":
		return Options{}, errors.New("consul: the URL has a path, which means nothing here; want " + URLForm)
	case u.Fragment != "":
		return Options{}, errors.New("consul: the URL has a fragment (#), which means nothing here; want " + URLForm)
	}
	o := Options{Address: withPort(u)}
	for _, host := range others {
		u, err := url.Parse("consul://" + host)
		if err != nil || u.Hostname() == "" || u.User != nil {
			return Options{}, errors.New("consul: one of the URL's hosts is none; want " + URLForm)
		}
		o.Address += "," + withPort(u)
	}
	if u.User != nil {
		if _, ok := u.User.Password(); ok {
			return Options{}, errors.New("consul: the URL has a password; a token stands alone before the @")
		}
		o.Token = u.User.Username()
	}
	if err := o.query(u.RawQuery); err != nil {
		return Options{}, err
	}
	if o.Token == "" && o.TokenFile == "" {
		o.token(env)
	}
	return checked(o)
}

// cutHosts takes all hosts but the first out of a URL.
func cutHosts(raw string) (first string, others []string) {
	start := strings.Index(raw, "://") + len("://")
	end := len(raw)
	if i := strings.IndexAny(raw[start:], "/?#"); i >= 0 {
		end = start + i
	}
	hosts := strings.Split(raw[start:end], ",")
	return raw[:start] + hosts[0] + raw[end:], hosts[1:]
}

func withPort(u *url.URL) string {
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "8500")
	}
	return u.Host
}

// query takes the parameters of a URL.
func (o *Options) query(raw string) error {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return errors.New("consul: the URL's parameters cannot be read; want " + URLForm)
	}
	texts := map[string]*string{
		"dc": &o.Datacenter, "tag": &o.Tag, "scheme": &o.Scheme, "namespace": &o.Namespace, "partition": &o.Partition,
		"ca": &o.TLS.CAFile, "cert": &o.TLS.CertFile, "key": &o.TLS.KeyFile, "server_name": &o.TLS.ServerName,
		"token_file": &o.TokenFile, "address": &o.TaggedAddress, "failover_query": &o.FailoverQuery,
	}
	for key, values := range q {
		value := values[0]
		if len(values) > 1 {
			return fmt.Errorf("consul: the URL's parameter %q is given %d times", key, len(values))
		}
		if text := texts[key]; text != nil {
			*text = value
			continue
		}
		switch key {
		case "verify":
			verify, err := strconv.ParseBool(value)
			if err != nil {
				return fmt.Errorf("consul: the URL's parameter verify is %q; want true or false", value)
			}
			o.TLS.InsecureSkipVerify = !verify
		case "wait", "liveness", "max_stale":
			d, err := time.ParseDuration(value)
			if err != nil || d <= 0 {
				return fmt.Errorf("consul: the URL's parameter %s is %q; want a time like 5s", key, value)
			}
			*map[string]*time.Duration{"wait": &o.Wait, "liveness": &o.Liveness, "max_stale": &o.MaxStale}[key] = d
		case "failover":
			o.Failover = strings.Split(value, ",")
		case "token":
			return errors.New("consul: a token stands before the @ of the URL, not among its parameters")
		default:
			return fmt.Errorf("consul: the URL's parameter %q is not known; want %s", key, URLForm)
		}
	}
	return nil
}

// fromEnv reads what Consul's own tools read.
func fromEnv(env func(string) string) (Options, error) {
	o := Options{
		Address: env("CONSUL_HTTP_ADDR"), Namespace: env("CONSUL_NAMESPACE"), Partition: env("CONSUL_PARTITION"),
		TLS: TLS{
			CAFile: env("CONSUL_CACERT"), CAPath: env("CONSUL_CAPATH"), CertFile: env("CONSUL_CLIENT_CERT"),
			KeyFile: env("CONSUL_CLIENT_KEY"), ServerName: env("CONSUL_TLS_SERVER_NAME"),
		},
	}
	for _, name := range []string{"CONSUL_HTTP_SSL", "CONSUL_HTTP_SSL_VERIFY"} {
		text := env(name)
		if text == "" {
			continue
		}
		on, err := strconv.ParseBool(text)
		switch {
		case err != nil:
			return Options{}, fmt.Errorf("consul: %s is %q; want true or false", name, text)
		case name == "CONSUL_HTTP_SSL" && on:
			o.Scheme = "https"
		case name == "CONSUL_HTTP_SSL_VERIFY":
			o.TLS.InsecureSkipVerify = !on
		}
	}
	if scheme, rest, ok := strings.Cut(o.Address, "://"); ok && scheme != "unix" {
		if !slices.Contains([]string{"http", "https"}, scheme) {
			return Options{}, fmt.Errorf("consul: CONSUL_HTTP_ADDR has the scheme %q; want http, https or unix", scheme)
		}
		if o.Scheme == "" || scheme == "https" { // never back to clear text when TLS was asked for
			o.Scheme = scheme
		}
		o.Address = strings.TrimSuffix(rest, "/")
	}
	o.token(env)
	o.User, o.Password, _ = strings.Cut(env("CONSUL_HTTP_AUTH"), ":")
	return checked(o)
}

// checked returns the options as they were given if they can work.
func checked(o Options) (Options, error) {
	if _, err := o.withDefaults(); err != nil {
		return Options{}, err
	}
	return o, nil
}

// token takes the token from the environment. As with Consul's own tools the file goes first.
func (o *Options) token(env func(string) string) {
	if o.TokenFile = env("CONSUL_HTTP_TOKEN_FILE"); o.TokenFile == "" {
		o.Token = env("CONSUL_HTTP_TOKEN")
	}
}
