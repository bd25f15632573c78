package affinity

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Manager holds the sessions of all services by name. Its methods may be called concurrently.
type Manager struct {
	share *share // what is to be written to a shared store

	// mu guards what follows.
	mu       sync.Mutex
	secrets  [][]byte // the first seals, all open; never changed in place
	services map[string]*Sessions
	closed   bool
}

// MinSecret is the least length in bytes of a secret.
const MinSecret = 16

// NewManager returns a manager whose cookies are sealed under the secret, which all balancers that serve the same
// clients share. Without one a random secret is made, and sealed sessions end with the process. A secret of fewer than
// [MinSecret] bytes is an error.
func NewManager(secret []byte) (*Manager, error) {
	switch {
	case len(secret) == 0:
		secret = make([]byte, 32)
		rand.Read(secret) // never fails
	case len(secret) < MinSecret:
		return nil, fmt.Errorf("the session secret has %d bytes; use at least %d random ones", len(secret), MinSecret)
	}
	return &Manager{secrets: [][]byte{slices.Clone(secret)}, services: make(map[string]*Sessions), share: newShare()}, nil
}

// SetSecrets has cookies sealed under the first of the secrets from now on, while those that were sealed under any of
// them are still opened, and replaced with the client's next exchange. It changes nothing if there are none, or if one
// has fewer than [MinSecret] bytes.
func (m *Manager) SetSecrets(secrets ...[]byte) error {
	if len(secrets) == 0 {
		return errors.New("no session secret is given")
	}
	for i, secret := range secrets {
		if len(secret) < MinSecret {
			return fmt.Errorf("session secret %d of %d has %d bytes; use at least %d random ones", i+1, len(secrets), len(secret), MinSecret)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.EqualFunc(secrets, m.secrets, bytes.Equal) {
		return nil
	}
	m.secrets = make([][]byte, len(secrets))
	for i, secret := range secrets {
		m.secrets[i] = slices.Clone(secret)
	}
	for _, s := range m.services {
		s.seals.Store(newSealers(m.secrets, s.service))
	}
	return nil
}

// Sessions returns the sessions of the service of that name, which begin with the first call. Their options are set by
// [Sessions.Configure].
func (m *Manager) Sessions(service string) *Sessions {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.serviceLocked(service)
	s.forgotten = false
	return s
}

func (m *Manager) serviceLocked(service string) *Sessions {
	s := m.services[service]
	if s == nil {
		s = newSessions(m.secrets, service, m.share)
		if m.closed {
			s.stop()
		}
		m.services[service] = s
	}
	return s
}

// Forget ends what is remembered for a service that is gone for good. Shared sessions stay until they expire: the store
// tells of them but once.
func (m *Manager) Forget(service string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.services[service]; s != nil {
		s.forgotten = true
	}
	for name, s := range m.services {
		shared := s.shared.Load()
		if s.forgotten && (shared == nil || shared.active.Load() == 0) {
			s.stop()
			delete(m.services, name)
		}
	}
}

// Close ends all background work. Sessions already found go on working.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for _, s := range m.services {
		s.stop()
	}
}

// Active is how many sessions of one service the memory store remembers.
type Active struct {
	Service  string
	Sessions int64
}

// Active returns the services that remember sessions now, in order of name.
func (m *Manager) Active() []Active {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Active
	for name, s := range m.services {
		if n := s.Active(); n > 0 {
			all = append(all, Active{Service: name, Sessions: n})
		}
	}
	slices.SortFunc(all, func(a, b Active) int { return strings.Compare(a.Service, b.Service) })
	return all
}
