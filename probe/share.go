package probe

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
)

// Board is where balancers that share their probes tell each other what these say. Its methods may be called
// concurrently.
type Board interface {
	// Tell replaces what this balancer tells. It does not block.
	Tell(Entry)
	// Run has heard called with what all tell, by the balancers' ids, this one's included, whenever that changes, until
	// the context ends; with nil as soon as it is not known any more. Calls come one at a time. Whoever has ended is in
	// none after its time to live.
	Run(ctx context.Context, heard func(map[string]Entry))
}

// Entry is what one balancer tells: by the services whose probes it shares, what its own probes say of their backends,
// by id. A service stands there even if none of its backends does.
type Entry map[string]map[string]Verdict

// Verdict is what the probes of one balancer say of a backend.
type Verdict struct {
	// URL is what was probed. A verdict on another URL is none.
	URL string `json:"url"`
	// Down is why the backend is down; empty for one that is up.
	Down string `json:"down,omitempty"`
}

// MaxEntry bounds the text of an [Entry], well below what an etcd takes: some 15,000 verdicts.
const MaxEntry = 1 << 20

// Encode is the text of an entry. What is too much for [MaxEntry] is left out, always the same; left is how many verdicts
// these are.
func (e Entry) Encode() (text []byte, left int) {
	text = encode(e)
	if len(text) <= MaxEntry {
		return text, 0
	}
	size, short := 2, Entry{}
	for _, service := range slices.Sorted(maps.Keys(e)) {
		if size += len(encode(service)) + 4; size > MaxEntry {
			left += len(e[service])
			continue
		}
		short[service] = map[string]Verdict{}
		for _, id := range slices.Sorted(maps.Keys(e[service])) {
			v := e[service][id]
			n := len(encode(id)) + len(encode(v)) + 2
			if size+n > MaxEntry {
				left++
				continue
			}
			size += n
			short[service][id] = v
		}
	}
	return encode(short), left
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings
	}
	return text
}

// DecodeEntry reads the text of an entry.
func DecodeEntry(text []byte) (e Entry, err error) {
	if len(text) > MaxEntry {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(text), MaxEntry)
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	if e == nil {
		e = Entry{}
	}
	return e, nil
}

// Equal reports whether two entries tell the same.
func (e Entry) Equal(o Entry) bool {
	return maps.EqualFunc(e, o, func(a, b map[string]Verdict) bool { return maps.Equal(a, b) })
}

// Subject is a backend whose probes are shared, as one balancer keeps it. It is not safe for concurrent use.
type Subject struct {
	Service, ID, URL string
	// By is how many balancers probe it.
	By int

	hash uint64 // of the backend; 0 before it is needed
	// duty is whether this balancer is one of By, among the members whose print is of.
	duty bool
	of   uint64
	by   int
}

// Shared is what all who share have told, as one of them heard it. It is not changed once it is made; nil stands for a
// store that is away.
//
// Who probes a backend follows from the list of those who share its service, by rendezvous hashing: each member's id is
// hashed together with the backend, and the By members with the greatest values probe it. All who have the same list come
// to the same members without asking, and one that comes or goes moves only what is its own. Nothing has to be locked,
// claimed or renewed for a backend; that a member is one is said by the one lease of its entry.
type Shared struct {
	self     string
	services map[string]*sharers
}

// sharers are those who share a service, and what they say.
type sharers struct {
	members []sharer // in order of id
	print   uint64   // differs where the members do; never 0
	said    map[string][]saying
}

type sharer struct {
	id   string
	hash uint64
}

type saying struct {
	by string
	Verdict
}

// NewShared makes of what all have told what the balancer self knows.
func NewShared(self string, told map[string]Entry) *Shared {
	s := &Shared{self: self, services: map[string]*sharers{}}
	for _, id := range slices.Sorted(maps.Keys(told)) {
		for name, verdicts := range told[id] {
			svc := s.services[name]
			if svc == nil {
				svc = &sharers{said: map[string][]saying{}}
				s.services[name] = svc
			}
			m := sharer{id, hash(id)}
			svc.members = append(svc.members, m)
			svc.print = mix(svc.print^m.hash) | 1
			for backend, v := range verdicts {
				svc.said[backend] = append(svc.said[backend], saying{id, v})
			}
		}
	}
	return s
}

// Decision is what is to be done about a backend and what it is.
type Decision struct {
	// Probe says that this balancer probes the backend; Tell that it tells others what comes of it.
	Probe, Tell bool
	// Known says that there is a verdict: Down, which is that of more than half of those in By. Why is the reason of one
	// of them.
	Known, Down bool
	Why         string
	// By names the balancers whose verdicts counted, in order; nil for this one's alone without a store.
	By []string
}

// Decide decides about a backend. Own is what this balancer's own probes say of it, nil for nothing yet.
//
// The balancer probes if it is one of those who have to, and else if nobody tells anything of the backend: a new one,
// one whose probers have all just ended, or one that nobody had room to tell of. It says what it finds only in the first
// case. Of the verdicts there are, its own included while it probes, a majority takes the backend down: where they are
// divided evenly, it is up.
func (s *Shared) Decide(sub *Subject, own *Verdict) (d Decision) {
	var svc *sharers
	if s != nil {
		svc = s.services[sub.Service]
	}
	if svc == nil {
		d.Probe = true
		if own != nil {
			d.Known, d.Down, d.Why = true, own.Down != "", own.Down
		}
		return d
	}
	d.Tell = s.duty(svc, sub)
	downs := 0
	count := func(by, down string) {
		d.By = append(d.By, by)
		if down != "" {
			downs++
			d.Why = down
		}
	}
	for _, v := range svc.said[sub.ID] {
		if v.by != s.self && v.URL == sub.URL {
			count(v.by, v.Down)
		}
	}
	d.Probe = d.Tell || len(d.By) == 0
	if d.Probe && own != nil && own.URL == sub.URL {
		count(s.self, own.Down) // the last, so that its reason is the one that is told
		slices.Sort(d.By)
	}
	d.Known, d.Down = len(d.By) > 0, 2*downs > len(d.By)
	if !d.Down {
		d.Why = ""
	}
	return d
}

// duty reports whether this balancer is one of those who probe a backend.
func (s *Shared) duty(svc *sharers, sub *Subject) bool {
	if sub.of == svc.print && sub.by == sub.By {
		return sub.duty
	}
	if sub.hash == 0 {
		sub.hash = hash(sub.Service, sub.ID, sub.URL)
	}
	sub.of, sub.by, sub.duty = svc.print, sub.By, false
	me, ok := slices.BinarySearchFunc(svc.members, s.self, func(m sharer, id string) int { return cmp.Compare(m.id, id) })
	if !ok {
		return false // not in the list yet: nobody reckons with it
	}
	mine, before := mix(svc.members[me].hash^sub.hash), 0
	for i, m := range svc.members {
		if v := mix(m.hash ^ sub.hash); v > mine || v == mine && i < me {
			before++
		}
	}
	sub.duty = before < sub.By
	return sub.duty
}

// hash hashes texts as FNV-1a does, each ended by a byte that is in none, and mixes the result: FNV's upper bits say
// little about the last bytes.
func hash(texts ...string) uint64 {
	h := fnv.New64a()
	for _, t := range texts {
		_, _ = h.Write([]byte(t))
		_, _ = h.Write([]byte{0})
	}
	return mix(h.Sum64())
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
