package tlsload

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Pair names the two files, in PEM form, of one certificate. The certificate file holds the server's certificate first
// and the intermediate ones after it. Both may be the same file.
type Pair struct {
	CertFile string
	KeyFile  string
}

// Options configure a [Store].
type Options struct {
	// Pairs are the certificates, at least one; the first is the default.
	Pairs []Pair
	// MinVersion and MaxVersion are "1.2" or "1.3" ("TLS1.3", "TLSv1.3" too); empty means 1.2 and the newest.
	MinVersion, MaxVersion string
	// CipherSuites are the names of those allowed for TLS 1.2, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256; empty
	// means Go's choice. Those of TLS 1.3 are always on and may be named.
	CipherSuites []string
	// ReloadInterval is the time between two looks at the files; 0 means 500 ms, less means never.
	ReloadInterval time.Duration
	// Logger is told of reloads, refusals and expired certificates; nil discards.
	Logger *slog.Logger
}

// ParseVersion reads a version of TLS as people write it: 1.2, TLS1.2, TLSv1.2, "TLS 1.2", tls12, VersionTLS12.
func ParseVersion(s string) (uint16, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	for _, prefix := range []string{"version", "tls", "_", " ", "v"} {
		text = strings.TrimPrefix(text, prefix)
	}
	if len(text) == 2 && text[0] == '1' {
		text = "1." + text[1:]
	}
	switch text {
	case "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	case "1.0", "1.1":
		return 0, fmt.Errorf("TLS version %q is not secure any more and not supported; use 1.2 or 1.3", s)
	}
	return 0, fmt.Errorf("unknown TLS version %q; use 1.2 or 1.3", s)
}

// ParseCipherSuite returns the number of a cipher suite by its name, in any case.
func ParseCipherSuite(name string) (uint16, error) {
	var valid []string
	for _, s := range tls.CipherSuites() {
		if strings.EqualFold(s.Name, strings.TrimSpace(name)) {
			return s.ID, nil
		}
		valid = append(valid, s.Name)
	}
	for _, s := range tls.InsecureCipherSuites() {
		if strings.EqualFold(s.Name, strings.TrimSpace(name)) {
			return 0, fmt.Errorf("the cipher suite %s is insecure and not supported; use some of %s", s.Name, strings.Join(valid, ", "))
		}
	}
	return 0, fmt.Errorf("unknown cipher suite %q; use some of %s", name, strings.Join(valid, ", "))
}

// config is the part of the TLS configuration that is not certificates.
func (o Options) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	var err error
	if o.MinVersion != "" {
		if c.MinVersion, err = ParseVersion(o.MinVersion); err != nil {
			return nil, fmt.Errorf("min_version: %w", err)
		}
	}
	if o.MaxVersion != "" {
		if c.MaxVersion, err = ParseVersion(o.MaxVersion); err != nil {
			return nil, fmt.Errorf("max_version: %w", err)
		}
		if c.MaxVersion < c.MinVersion {
			return nil, fmt.Errorf("max_version %s is below min_version %s", o.MaxVersion, tls.VersionName(c.MinVersion))
		}
	}
	for _, name := range o.CipherSuites {
		id, err := ParseCipherSuite(name)
		if err != nil {
			return nil, fmt.Errorf("cipher_suites: %w", err)
		}
		c.CipherSuites = append(c.CipherSuites, id)
	}
	if !allowsHTTP2(c) {
		c.NextProtos = []string{"http/1.1"}
	}
	return c, nil
}

// allowsHTTP2 reports whether one of the suites that HTTP/2 asks for over TLS 1.2 is allowed (RFC 9113, section 9.2.2).
func allowsHTTP2(c *tls.Config) bool {
	return c.MinVersion >= tls.VersionTLS13 || c.CipherSuites == nil ||
		slices.Contains(c.CipherSuites, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) ||
		slices.Contains(c.CipherSuites, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
}
