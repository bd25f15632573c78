// Package fleet is what balancers that share a store know of each other.
//
// Each [Replica] writes what it is and which table it has under a key that vanishes with it. A [View] is the list of all,
// in order of their IDs, so that every replica that sees the same list comes to the same rank for each. The package holds
// values and what they say together; it knows no store.
package fleet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/discovery"
)

// maxEntry bounds what is read of one replica.
const maxEntry = 64 << 10

// Replica is what one balancer tells of itself.
type Replica struct {
	// ID is unique in the fleet.
	ID      string    `json:"id"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Admin and Listen are the addresses that it listens on.
	Admin  string   `json:"admin,omitempty"`
	Listen []string `json:"listen,omitempty"`
	// Fingerprint is equal for replicas with equal tables; Generation counts the tables that it has published.
	Fingerprint string `json:"fingerprint"`
	Generation  uint64 `json:"generation"`
	// Sources are what it is fed by.
	Sources []Source `json:"sources,omitempty"`
	// Written is when the entry was written: whenever something else of it changes.
	Written time.Time `json:"written"`
}

// Source is a source of a replica.
type Source struct {
	Name string `json:"name"`
	Up   bool   `json:"up"`
	// Synced is when a source that is not up was last in step; nil for never, and for one that is up.
	Synced *time.Time `json:"synced,omitempty"`
}

// Equal reports whether two replicas tell the same, whenever it was written.
func (r Replica) Equal(o Replica) bool {
	r.Written, o.Written = time.Time{}, time.Time{}
	return string(r.Encode()) == string(o.Encode())
}

// Encode is the text of an entry.
func (r Replica) Encode() []byte {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings, numbers and times of this era
	}
	return text
}

// Decode reads the entry of a replica of that ID.
func Decode(id string, text []byte) (r Replica, err error) {
	if len(text) > maxEntry {
		return r, fmt.Errorf("the entry of replica %q has %d bytes", id, len(text))
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("the entry of replica %q: %w", id, err)
	}
	if err := discovery.CheckID(id); err != nil {
		return r, fmt.Errorf("the replica: %w", err)
	}
	r.ID = id // the key's, which is unique
	return r, nil
}

// Lag is how long the sources of a replica have been out of step, the worst of them; 0 if none is. Never says that one has
// not been in step yet.
func (r Replica) Lag(now time.Time) (lag time.Duration, never bool) {
	for _, s := range r.Sources {
		switch {
		case s.Up:
		case s.Synced == nil:
			never = true
			lag = max(lag, now.Sub(r.Started))
		default:
			lag = max(lag, now.Sub(*s.Synced))
		}
	}
	return max(lag, 0), never
}

// View is the fleet as one replica sees it. It is a value: nobody changes one that was handed over.
type View struct {
	// Members are in order of ID, without duplicates.
	Members []Replica
	// Self is the index of the replica that looks, -1 for one that is not in the list (yet).
	Self int
}

// NewView makes the view of a replica.
func NewView(members []Replica, self string) View {
	v := View{Members: slices.Clone(members), Self: -1}
	slices.SortFunc(v.Members, func(a, b Replica) int { return strings.Compare(a.ID, b.ID) })
	v.Members = slices.CompactFunc(v.Members, func(a, b Replica) bool { return a.ID == b.ID })
	v.Self = slices.IndexFunc(v.Members, func(r Replica) bool { return r.ID == self })
	return v
}

// Size is the number of members, at least 1: whoever looks is one.
func (v View) Size() int { return max(len(v.Members), 1) }

// Differing names the members whose tables are not that of the majority, in order; all where no table has a majority.
func (v View) Differing() []string {
	count := map[string]int{}
	for _, m := range v.Members {
		count[m.Fingerprint]++
	}
	var out []string
	for _, m := range v.Members {
		if 2*count[m.Fingerprint] <= len(v.Members) {
			out = append(out, m.ID)
		}
	}
	return out
}
