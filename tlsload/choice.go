package tlsload

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
)

// choice is an immutable set of certificates by name. Each list is in order of preference and not empty.
type choice struct {
	exact    map[string][]*tls.Certificate // by lower-case name
	wildcard map[string][]*tls.Certificate // by what follows "*."
	fallback []*tls.Certificate
}

// newChoice is the choice among the certificates of the pairs, in their order.
func newChoice(certs []*tls.Certificate) *choice {
	c := &choice{exact: map[string][]*tls.Certificate{}, wildcard: map[string][]*tls.Certificate{}}
	for _, cert := range certs {
		for _, name := range names(cert.Leaf) {
			name = normal(name)
			if suffix, ok := strings.CutPrefix(name, "*."); ok {
				c.wildcard[suffix] = add(c.wildcard[suffix], cert)
			} else {
				c.exact[name] = add(c.exact[name], cert)
			}
		}
		if sameNames(cert.Leaf, certs[0].Leaf) {
			c.fallback = add(c.fallback, cert)
		}
	}
	return c
}

// add appends a certificate unless there is one of its kind already, those with RSA keys last: every client supports
// them, but they are slow.
func add(list []*tls.Certificate, cert *tls.Certificate) []*tls.Certificate {
	kind := algorithm(cert.Leaf)
	if slices.ContainsFunc(list, func(c *tls.Certificate) bool { return algorithm(c.Leaf) == kind }) {
		return list
	}
	if n := len(list); n > 0 && algorithm(list[n-1].Leaf) == "RSA" {
		return slices.Insert(list, n-1, cert)
	}
	return append(list, cert)
}

// certificate is the choice for a handshake. It does not allocate when one certificate has the name.
func (c *choice) certificate(hello *tls.ClientHelloInfo) *tls.Certificate {
	name := normal(hello.ServerName)
	list := c.exact[name]
	if list == nil {
		if _, suffix, ok := strings.Cut(name, "."); ok {
			list = c.wildcard[suffix]
		}
	}
	if list == nil {
		list = c.fallback
		if len(list) > 1 && name != "" {
			// The name is none of the default's, which SupportsCertificate would mind.
			nameless := *hello
			nameless.ServerName = ""
			hello = &nameless
		}
	}
	if len(list) > 1 {
		for _, cert := range list {
			if hello.SupportsCertificate(cert) == nil {
				return cert
			}
		}
	}
	return list[len(list)-1]
}

// normal is a host name without case and final dot.
func normal(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func sameNames(a, b *x509.Certificate) bool {
	an, bn := slices.Clone(names(a)), slices.Clone(names(b))
	slices.Sort(an)
	slices.Sort(bn)
	return slices.EqualFunc(an, bn, strings.EqualFold)
}
