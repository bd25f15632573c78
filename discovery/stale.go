package discovery

import (
	"slices"
	"sort"
)

// Stale says that a part of what is announced is older than what the store holds, since that cannot be known now: a
// query that failed, an answer that ACLs filtered, a value that cannot be decoded. A source that remembers the last good
// state announces it beside the mark. One that does not leaves the part out, and the catalog keeps what it knows, be it
// from before a restart; of a part that nothing is known of, the mark is dropped.
//
//	Service{Name: "web", Stale: {StaleService}}                           all of web stays as it was
//	Service{Name: "web", Backends: {b1, b2}, Stale: {StaleBackend b1}}    b1 as given, stale
//	Service{Name: "web", Backends: {b2}, Stale: {StaleBackend b1}}        b1 stays as it was, if it was known
//	Service{Name: "web", Backends: {b2}, Stale: {StalePolicy}}            the policy stays as it was
type Stale struct {
	// Part is one of the Stale constants; for a [Route]'s mark it is empty.
	Part string `json:"part,omitempty"`
	// ID is the backend's, for [StaleBackend].
	ID string `json:"id,omitempty"`
	// Reason is one of the Code constants. A mark without one is none.
	Reason string `json:"reason"`
	// Detail tells a person what is wrong and what would be right. It holds no secret.
	Detail string `json:"detail"`
}

// Parts of a service that can be stale.
const (
	StaleService = "service" // all of it; what is given beside the mark is the last good state
	StaleBackend = "backend" // one backend
	StalePolicy  = "policy"  // the policy
)

// Keep returns the announcement with what its stale parts leave out taken from old, which is what was known before. Marks
// of what is not known are left out. Neither argument is changed.
func (s Service) Keep(old Service) Service {
	if len(s.Stale) == 0 {
		return s
	}
	out := s
	out.Stale = make([]Stale, 0, len(s.Stale))
	for _, m := range s.Stale {
		known := true
		switch m.Part {
		case StaleService:
			if len(out.Backends) == 0 && out.Policy == nil && len(out.Routes) == 0 {
				out.Backends, out.Policy, out.Routes = old.Backends, old.Policy, old.Routes
			}
			known = len(out.Backends) > 0 || out.Policy != nil || len(out.Routes) > 0
		case StalePolicy:
			if out.Policy == nil {
				out.Policy = old.Policy
			}
			known = out.Policy != nil
		case StaleBackend:
			out.Backends, known = keepBackend(out.Backends, old.Backends, m.ID)
		}
		if known {
			out.Stale = append(out.Stale, m)
		}
	}
	if len(out.Stale) == 0 {
		out.Stale = nil
	}
	return out
}

// keepBackend returns the backends with that of an ID from old, if they lack it, and whether there is one.
func keepBackend(bs, old []Backend, id string) ([]Backend, bool) {
	i, found := findBackend(bs, id)
	if found {
		return bs, true
	}
	k, found := findBackend(old, id)
	if !found {
		return bs, false
	}
	return slices.Insert(slices.Clone(bs), i, old[k]), true
}

func findBackend(bs []Backend, id string) (int, bool) {
	i := sort.Search(len(bs), func(i int) bool { return bs[i].ID >= id })
	return i, i < len(bs) && bs[i].ID == id
}

// Keep returns the route, or, if it is stale and names no service, the one that was known before with its mark. It names
// no service if there was none.
func (r Route) Keep(old Route) Route {
	if r.Service == "" && r.Stale.Reason != "" {
		name, stale := r.Name, r.Stale
		r = old
		r.Name, r.Stale = name, stale
	}
	return r
}
