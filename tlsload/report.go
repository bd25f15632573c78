package tlsload

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// Certificate describes a certificate in force.
type Certificate struct {
	Pair
	// Names are the host names that it answers for; Default reports whether it answers for all others too.
	Names   []string
	Default bool
	// Key is the kind of its key: ECDSA, RSA or Ed25519.
	Key                 string
	NotBefore, NotAfter time.Time
}

// Certificates are those in force, in the order of the pairs.
func (s *Store) Certificates() []Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Certificate
	for i, e := range s.entries {
		leaf := e.cert.Leaf
		all = append(all, Certificate{
			Pair: e.pair, Names: slices.Clone(names(leaf)), Default: i == 0, Key: algorithm(leaf),
			NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
		})
	}
	return all
}

// Codes of problems.
const (
	CodeRefused = "refused"       // the files hold something that cannot be served; what was loaded before is
	CodeExpired = "expired"       // the certificate in force has expired
	CodeNotYet  = "not-yet-valid" // the certificate in force is not valid yet
)

// Problem is something that a person should mend.
type Problem struct {
	Pair
	// Code is one of the Code constants.
	Code string
	// Detail says what is wrong and what to do. It holds no secret.
	Detail string
}

// Problems are the problems now, in the order of the pairs; none is nil.
func (s *Store) Problems() []Problem {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Problem
	for _, e := range s.entries {
		if e.err != nil {
			all = append(all, Problem{Pair: e.pair, Code: CodeRefused, Detail: e.err.Error()})
		}
		if code, detail := outOfTime(e.cert.Leaf, now); code != "" {
			all = append(all, Problem{Pair: e.pair, Code: code, Detail: detail})
		}
	}
	return all
}

// Counts returns what was counted.
func (s *Store) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

const dateForPeople = "2 January 2006 15:04 MST"

// outOfTime tells of a certificate that is not valid at the given time; the code is empty for one that is.
func outOfTime(c *x509.Certificate, now time.Time) (code, detail string) {
	switch {
	case now.After(c.NotAfter):
		return CodeExpired, fmt.Sprintf("the certificate of %s expired on %s; renew it", subject(c), c.NotAfter.UTC().Format(dateForPeople))
	case now.Before(c.NotBefore):
		return CodeNotYet, fmt.Sprintf("the certificate of %s is valid from %s on; is the clock right?", subject(c), c.NotBefore.UTC().Format(dateForPeople))
	}
	return "", ""
}
