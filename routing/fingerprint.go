package routing

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/vietddude/load-balancer/discovery"
)

// A fingerprint is the same for tables that route alike, whoever built them and in whatever order their announcements
// arrived. Each backend, service and route has a hash; a table's fingerprint is the sum of all, so that a change costs
// what it touches: the old parts are subtracted, the new ones added. Sums of hashes guard against accidents, not against
// somebody who looks for two tables of one sum.
//
// Health, counters, sources and their ranks are no part of it, nor are services that nothing announces any more: whether
// a balancer remembers one depends on when it was started.
type fingerprint [2]uint64

func (f fingerprint) plus(o fingerprint) fingerprint  { return fingerprint{f[0] + o[0], f[1] + o[1]} }
func (f fingerprint) minus(o fingerprint) fingerprint { return fingerprint{f[0] - o[0], f[1] - o[1]} }

// String is 32 hexadecimal digits.
func (f fingerprint) String() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], f[0])
	binary.BigEndian.PutUint64(b[8:], f[1])
	return hex.EncodeToString(b[:])
}

// Fingerprint is a hash of what the table routes and how: services, backends, policies and routes. It is equal for
// tables that equal announcements led to, in other processes and orders too.
func (t *Table) Fingerprint() string {
	return t.sum.plus(hashOf("table", t.settings.domain, t.settings.catchAll)).String()
}

// hasher writes what is hashed: texts, each behind its length, so that no two lists of texts are the same bytes.
type hasher []byte

func (h *hasher) text(s string) {
	*h = binary.AppendUvarint(*h, uint64(len(s)))
	*h = append(*h, s...)
}

func (h *hasher) number(n int) { *h = binary.AppendVarint(*h, int64(n)) }

// pairs writes a map in order of its keys.
func (h *hasher) pairs(m map[string]string) {
	h.number(len(m))
	if len(m) == 0 {
		return
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		h.text(k)
		h.text(m[k])
	}
}

func (h hasher) sum() fingerprint {
	s := sha256.Sum256(h)
	return fingerprint{binary.BigEndian.Uint64(s[:]), binary.BigEndian.Uint64(s[8:])}
}

func hashOf(texts ...string) fingerprint {
	var h hasher
	for _, t := range texts {
		h.text(t)
	}
	return h.sum()
}

// hashPolicy hashes all fields of a policy. A field that is added to it counts by itself.
func hashPolicy(p *Policy) fingerprint { return hashOf("policy", fmt.Sprintf("%+v", *p)) }

// hashBackend hashes a backend of a service.
func hashBackend(buf *hasher, service string, b *discovery.Backend) fingerprint {
	h := append((*buf)[:0], 'b')
	h.text(service)
	h.text(b.ID)
	h.text(b.URL)
	h.text(b.Zone)
	h.number(b.Weight)
	h.number(b2i(b.Draining) + b2i(b.Disabled))
	h.pairs(b.Meta)
	*buf = h
	return h.sum()
}

// hashService hashes a service whose policy and backends are hashed already.
func hashService(buf *hasher, s *Service) fingerprint {
	h := append((*buf)[:0], 's')
	h.text(s.Name)
	*buf = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(h, s.policySum[0]), s.policySum[1])
	sum := buf.sum()
	for _, b := range s.Backends {
		sum = sum.plus(b.sum)
	}
	return sum
}

// hash is the part of an entry in the table's fingerprint.
func (e *entry) hash(buf *hasher) (sum fingerprint) {
	if e.service != nil && !e.service.Past {
		sum = e.service.sum
	}
	for _, c := range e.claims {
		if c.rank != rankPast {
			sum = sum.plus(c.hash(buf))
		}
	}
	return sum
}

// hash hashes a route as it was announced, by whomever.
func (c *claim) hash(buf *hasher) fingerprint {
	h := append((*buf)[:0], 'r')
	r := &c.route
	for _, s := range [...]string{c.owner, r.Name, r.Host, r.Path, r.Method, r.StripPrefix, r.Service} {
		h.text(s)
	}
	h.pairs(r.Headers)
	*buf = h
	return h.sum()
}
