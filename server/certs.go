package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/vietddude/load-balancer/config"
	"github.com/vietddude/load-balancer/metrics"
	"github.com/vietddude/load-balancer/tlsload"
)

// certificates loads a listener's certificates; nil for one without TLS.
func certificates(l *config.Listener, log *slog.Logger) (*tlsload.Store, error) {
	if !l.TLS.Enabled {
		return nil, nil
	}
	o := tlsload.Options{Pairs: pairs(l), MinVersion: tls.VersionName(l.TLS.MinVersion), ReloadInterval: l.TLS.ReloadInterval, Logger: log}
	if l.TLS.MaxVersion != 0 {
		o.MaxVersion = tls.VersionName(l.TLS.MaxVersion)
	}
	for _, id := range l.TLS.CipherSuites {
		o.CipherSuites = append(o.CipherSuites, tls.CipherSuiteName(id))
	}
	s, err := tlsload.New(o)
	if err != nil {
		return nil, fmt.Errorf("listen %s: tls: %w", listenAddress(l), err)
	}
	return s, nil
}

func pairs(l *config.Listener) []tlsload.Pair {
	out := make([]tlsload.Pair, 0, len(l.TLS.Certificates))
	for _, c := range l.TLS.Certificates {
		out = append(out, tlsload.Pair{CertFile: c.CertFile, KeyFile: c.KeyFile})
	}
	return out
}

// checkCertificates reports which listeners' certificates could not be loaded.
func checkCertificates(cfg *config.Config) error {
	var errs []error
	for i := range cfg.Listen {
		_, err := certificates(&cfg.Listen[i], slog.New(slog.DiscardHandler))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// followCertificates gives the doors the certificates of a new configuration, which were checked. Listeners that were
// added or removed wait for a restart.
func (s *Server) followCertificates(cfg *config.Config) {
	for d, l := range doorListeners(s.doors, cfg.Listen) {
		if d.certs == nil || !l.TLS.Enabled {
			continue
		}
		if err := d.certs.SetPairs(pairs(l)); err != nil {
			s.log.Error("the listener keeps its certificates", "address", d.name, "err", err)
		}
	}
}

// doorListeners finds the listener that a configuration has for each door: that of the same address, whatever its place
// in the list. Of several with one address, which only port 0 can have, the first is the first's and so on.
func doorListeners(doors []*door, listen []config.Listener) map[*door]*config.Listener {
	out := make(map[*door]*config.Listener, len(doors))
	taken := make([]bool, len(listen))
	for _, d := range doors {
		for i := range listen {
			if !taken[i] && listenAddress(&listen[i]) == d.name {
				taken[i], out[d] = true, &listen[i]
				break
			}
		}
	}
	return out
}

// certificateMetrics are the certificates in force on all listeners, each once.
func (s *Server) certificateMetrics() []metrics.Certificate {
	var out []metrics.Certificate
	seen := map[string]bool{}
	for _, d := range s.doors {
		if d.certs == nil {
			continue
		}
		for _, c := range d.certs.Certificates() {
			if !seen[c.CertFile] {
				seen[c.CertFile] = true
				out = append(out, metrics.Certificate{Name: c.CertFile, NotAfter: c.NotAfter})
			}
		}
	}
	return out
}

// certificateProblems tells what is wrong with certificates now; empty if nothing is.
func (s *Server) certificateProblems() string {
	var all []string
	for _, d := range s.doors {
		if d.certs == nil {
			continue
		}
		for _, p := range d.certs.Problems() {
			all = append(all, p.Detail)
		}
	}
	return strings.Join(all, "; ")
}
