package tlsload

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Store serves the certificates of some pairs of files. Its methods may be called concurrently.
type Store struct {
	base     *tls.Config
	interval time.Duration
	log      *slog.Logger
	choice   atomic.Pointer[choice]

	mu      sync.Mutex
	entries []*entry // guarded by mu; one for each pair, in order
	counts  Counts   // guarded by mu
}

// entry is what is known of one pair.
type entry struct {
	pair Pair
	cert *tls.Certificate // in force
	read *contents        // as last read; sum identifies them
	sum  [sha256.Size]byte
	err  error // why what was last read is refused; nil if it is in force
	told bool  // that the certificate in force is out of its time
}

// Counts count since the store was made.
type Counts struct {
	// Reloads counts certificates that replaced another; Refusals contents that were not taken, each once.
	Reloads, Refusals uint64
}

// New loads all pairs. Its error tells of everything that is wrong with the options and the files at once.
func New(o Options) (*Store, error) {
	s := &Store{interval: o.ReloadInterval, log: o.Logger}
	if s.interval == 0 {
		s.interval = 500 * time.Millisecond
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	base, err := o.config()
	if err := errors.Join(err, s.SetPairs(o.Pairs)); err != nil {
		return nil, err
	}
	base.GetCertificate = s.certificate
	s.base = base
	if len(base.NextProtos) == 1 {
		s.log.Warn("HTTP/2 is off: cipher_suites has none of those that it needs",
			"add", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 or TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
	}
	return s, nil
}

// Config returns a configuration for a listener, which may change it. It need not be replaced when certificates are:
// whoever resumes a session of it can do so across reloads.
func (s *Store) Config() *tls.Config { return s.base.Clone() }

func (s *Store) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.choice.Load().certificate(hello), nil
}

// SetPairs replaces the pairs. One that is there already keeps its certificate, reloaded if its files have changed. If a
// new one cannot be loaded, the error tells why, of each of them, and all stays as it was.
func (s *Store) SetPairs(pairs []Pair) error {
	if len(pairs) == 0 {
		return errors.New("no certificate is given; TLS needs cert_file and key_file")
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	old := map[Pair]*entry{}
	for _, e := range s.entries {
		old[e.pair] = e
	}
	var next, added []*entry
	var errs []error
	seen := map[Pair]bool{}
	for _, p := range pairs {
		if seen[p] {
			continue
		}
		seen[p] = true
		e := old[p]
		if e == nil {
			e = &entry{pair: p}
			added = append(added, e)
			if e.load(now); e.err != nil {
				errs = append(errs, e.err)
			}
		}
		next = append(next, e)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.entries = next
	for _, e := range added {
		s.log.Info("certificate loaded", e.attrs()...)
	}
	s.reloadLocked(now)
	s.publishLocked()
	return nil
}

// Reload looks at the files now. What is wrong with them is told by [Store.Problems].
func (s *Store) Reload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reloadLocked(time.Now()) {
		s.publishLocked()
	}
}

// Run looks at the files until the context ends.
func (s *Store) Run(ctx context.Context) {
	if s.interval < 0 {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.Reload()
		}
	}
}

// reloadLocked reloads what has changed and reports whether there is a certificate to be published.
func (s *Store) reloadLocked(now time.Time) (publish bool) {
	for _, e := range s.entries {
		if e.read.stale(e.pair, now) {
			was := e.cert
			switch fresh := e.load(now); {
			case fresh && e.err != nil:
				s.counts.Refusals++
				s.log.Warn("changed certificate refused, the one before stays in force", "err", e.err)
			case fresh && !sameChain(was, e.cert):
				s.counts.Reloads++
				publish = true
				e.told = false
				s.log.Info("certificate reloaded", e.attrs()...)
			case fresh:
				publish = true // the certificate that is in force, perhaps written anew: its old problem is gone
			}
		}
		if code, detail := outOfTime(e.cert.Leaf, now); code != "" && !e.told {
			e.told = true
			s.log.Warn("certificate "+code, "cert_file", e.pair.CertFile, "detail", detail)
		}
	}
	return publish
}

func (s *Store) publishLocked() {
	var certs []*tls.Certificate
	for _, e := range s.entries {
		certs = append(certs, e.cert)
	}
	s.choice.Store(newChoice(certs))
}

// load reads the pair and takes the certificate, or the reason against it. It reports whether the files hold anything
// else than when they were last read. Files that are being replaced during the reading are read again.
func (e *entry) load(now time.Time) (fresh bool) {
	const tries = 3
	for try := 1; ; try++ {
		read := e.pair.read(now)
		sum := read.sum()
		if e.read != nil && sum == e.sum {
			e.read = read
			return false
		}
		cert, err := (*tls.Certificate)(nil), read.err
		if err == nil {
			cert, err = e.pair.decode(read.cert, read.key)
		}
		if err != nil && try < tries && read.moved(e.pair) {
			continue
		}
		read.cert, read.key = nil, nil // the key lives on in the certificate alone
		e.read, e.sum, e.err = read, sum, err
		if err == nil {
			e.cert = cert
		}
		return true
	}
}

func (e *entry) attrs() []any {
	leaf := e.cert.Leaf
	return []any{"cert_file", e.pair.CertFile, "names", names(leaf), "key", algorithm(leaf), "not_after", leaf.NotAfter}
}

func sameChain(a, b *tls.Certificate) bool {
	if len(a.Certificate) != len(b.Certificate) {
		return false
	}
	for i := range a.Certificate {
		if string(a.Certificate[i]) != string(b.Certificate[i]) {
			return false
		}
	}
	return true
}
