package probe

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// tlsConfigs makes the TLS configuration of each distinct [TLS] once, so that sessions are resumed and a file of
// authorities is read by many targets' probes only when it changes. The zero value is ready.
type tlsConfigs struct {
	mu      sync.Mutex
	configs map[TLS]*tlsConfig // guarded by mu
}

type tlsConfig struct {
	config  *tls.Config
	modTime time.Time // of the file of authorities
	size    int64
}

// maxTLSConfigs bounds what is remembered of settings that no target has any more.
const maxTLSConfigs = 256

// get returns the configuration for a host under the settings, with a protocol for ALPN unless that is empty. Nobody
// changes it.
func (c *tlsConfigs) get(s TLS, host, next string) (*tls.Config, error) {
	config, err := c.shared(s)
	if err != nil {
		return nil, err
	}
	if config.ServerName == "" || next != "" {
		config = config.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	if next != "" {
		config.NextProtos = []string{next}
	}
	return config, nil
}

func (c *tlsConfigs) shared(s TLS) (*tls.Config, error) {
	next := &tlsConfig{}
	if s.CAFile != "" {
		info, err := os.Stat(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("the file of authorities: %w", err)
		}
		next.modTime, next.size = info.ModTime(), info.Size()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.configs[s]; old != nil && old.modTime.Equal(next.modTime) && old.size == next.size {
		return old.config, nil
	}
	next.config = &tls.Config{
		ServerName:         s.ServerName,
		InsecureSkipVerify: s.InsecureSkipVerify,
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(1024),
	}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("the file of authorities: %w", err)
		}
		next.config.RootCAs = x509.NewCertPool()
		if !next.config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the file of authorities %s holds no certificate in PEM form", s.CAFile)
		}
	}
	if c.configs == nil || len(c.configs) >= maxTLSConfigs {
		c.configs = map[TLS]*tlsConfig{}
	}
	c.configs[s] = next
	return next.config, nil
}
