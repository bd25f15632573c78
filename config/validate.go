package config

import (
	"fmt"
	"net"
	"strconv"
)

// Validate reports what does not fit together, or is impossible, whoever set it. A configuration from [Load] or [Parse]
// has passed it; one that was changed since may not. Values that only a program can set are not looked at.
func (c *Config) Validate() Problems { return c.validate(true) }

// validate looks at references between services only if all names are known.
func (c *Config) validate(references bool) Problems {
	v := &validator{c: c, report: &report{}}
	v.listeners()
	v.admin()
	v.sources()
	v.sessions()
	v.services()
	v.position()
	if references {
		v.references()
	}
	v.problems.sort()
	return v.problems
}

func (v *validator) position() {
	if p := v.c.Position; p.Index > 0 && p.Index >= p.Of {
		what := fmt.Sprintf("is %d of %d balancers", p.Index, p.Of)
		if p.Of == 0 {
			what = fmt.Sprintf("is %d, but of how many is not said", p.Index)
		}
		v.about(v.at("subset.index"), "subset.index", what, "they count from 0: set subset.of to their number")
	}
}

type validator struct {
	*report
	c *Config
}

// at is where one of the keys was given: the first that was.
func (v *validator) at(keys ...string) pos {
	for _, key := range keys {
		if p, ok := v.c.where[key]; ok {
			return p
		}
	}
	return pos{}
}

func (v *validator) listeners() {
	if len(v.c.Listen) == 0 {
		v.about(v.at("listen"), "listen", "names no address", "write {port: 8080}")
	}
	seen := map[string]string{}
	for i, l := range v.c.Listen {
		key := func(name string) (string, pos) {
			whole := "listen[" + strconv.Itoa(i) + "]"
			indexed, plain := whole+"."+name, "listen."+name
			if _, ok := v.c.where[whole]; ok || i > 0 {
				return indexed, v.at(indexed, whole)
			}
			return plain, v.at(plain, "listen")
		}
		name, at := key("port")
		if l.Port < 0 || l.Port > 65535 {
			v.about(at, name, fmt.Sprintf("must be from 0 to 65535, not %d", l.Port), "")
		}
		address := net.JoinHostPort(l.Address, strconv.Itoa(l.Port))
		if first, twice := seen[address]; twice && l.Port != 0 {
			v.about(at, name, "is "+strconv.Itoa(l.Port)+" like "+first+", on the same address", "give each listener its own port or address")
		}
		seen[address] = name
		v.tls(l.TLS, key)
	}
}

func (v *validator) tls(t TLS, key func(string) (string, pos)) {
	if t.Enabled && len(t.Certificates) == 0 {
		name, at := key("tls.enabled")
		v.about(at, name, "is true, but no certificate is named", "give tls.cert_file and tls.key_file, or tls.certificates")
	}
	for _, c := range t.Certificates {
		if c.CertFile == "" {
			name, at := key("tls.key_file")
			v.about(at, name, "has no cert_file beside it", "name both files")
		}
		if c.KeyFile == "" {
			name, at := key("tls.cert_file")
			v.about(at, name, "has no key_file beside it", "name both files")
		}
	}
	if t.MaxVersion != 0 && t.MinVersion > t.MaxVersion {
		name, at := key("tls.max_version")
		k := tlsVersion()
		v.about(at, name, k.format(t.MaxVersion)+" is lower than min_version, "+k.format(t.MinVersion), "")
	}
}

func (v *validator) sessions() {
	if v.c.SessionKey != "" && len(v.c.SessionKeys) > 0 {
		v.about(v.at("sticky_session.keys"), "sticky_session.keys", "is given beside sticky_session.key", "put that key into the list, and take key out")
	}
}

func (v *validator) admin() {
	at := v.at("admin.address")
	if _, f := hostPort(v.c.Admin.Address); f != nil {
		v.about(at, "admin.address", f.what, f.hint)
		return
	}
	if !loopback(v.c.Admin.Address) && v.c.Admin.Token == "" {
		v.about(at, "admin.address", quote(v.c.Admin.Address)+" can be reached from other machines, and no token is set",
			"set admin.token or LB_ADMIN_TOKEN, or use 127.0.0.1")
	}
}

func (v *validator) sources() {
	seen := map[string]bool{}
	for i, s := range v.c.Discovery {
		key := "discovery[" + strconv.Itoa(i) + "]"
		if _, f := discoveryURL(s); f != nil {
			v.about(v.at(key), key, f.what, f.hint)
		} else if seen[s] {
			v.about(v.at(key), key, quote(RedactURL(s))+" is named twice", "take one of them out")
		}
		seen[s] = true
	}
}

func (v *validator) services() {
	if s, ok := v.c.Services[DefaultService]; ok && len(s.Backends) > 0 && len(v.c.Backends) > 0 {
		v.about(v.at("services.default.backends"), "services.default.backends", "are given beside backends at the top level, which are the same service's", "keep one of the lists")
	}
	if f := checkName(v.c.DefaultService); v.c.DefaultService != "" && f != nil {
		v.about(v.at("default_service"), "default_service", f.what, f.hint)
	}
}

// references looks for services that nothing can announce. With discovery any name may come to be.
func (v *validator) references() {
	names := v.c.ServiceNames()
	known := map[string]bool{}
	for _, name := range names {
		known[name] = true
	}
	unknown := func(key, name string, at pos) {
		if name == "" || known[name] || len(v.c.Discovery) > 0 {
			return
		}
		hint := "declare it under services"
		if near := nearest(name, names); near != "" {
			hint = "did you mean " + near + "?"
		}
		v.about(at, key, "names the service "+quote(name)+", which is not declared, and there is no discovery that could announce it", hint)
	}
	unknown("default_service", v.c.DefaultService, v.at("default_service"))
	for i, r := range v.c.Routes {
		key := "routes[" + strconv.Itoa(i) + "].service"
		unknown(key, r.Service, v.at(key))
	}
}
