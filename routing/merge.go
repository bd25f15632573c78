package routing

import (
	"slices"
	"strings"

	"github.com/vietddude/load-balancer/discovery"
)

// MergeMode says what becomes of a service that several sources announce.
type MergeMode string

// The modes of merging. The balancer's own configuration and what an operator adds are always merged with the rest.
const (
	// MergeUnion takes the backends of all, each address once.
	MergeUnion MergeMode = "union"
	// MergePriority takes the strongest source that announces any backend, and nothing of weaker ones.
	MergePriority MergeMode = "priority"
	// MergeShadow takes the strongest source alone, whether it announces anything or not, and compares the others with it.
	MergeShadow MergeMode = "shadow"
)

// layer is what one source announces of a service.
type layer struct {
	source  string
	rank    int
	service discovery.Service
	// held are the IDs of backends that the guard holds, in ascending order.
	held []string
	// fixed says that the layer is merged in any mode; first that it is of the strongest source that is not fixed.
	fixed, first bool
}

// merged is what all sources together announce of a service.
type merged struct {
	name string
	// announced reports whether anybody announces anything.
	announced bool
	backends  []mergedBackend
	texts     []PolicyText
	routes    []announced
	problems  []discovery.Problem
	mode      MergeMode
	// authority is what shadows, which are not merged, are compared with.
	authority layer
	shadows   []layer
}

// merge lays what sources announce of a service over one another, the strongest first: all backends, of two with one
// address or ID the stronger source's; all policy texts; all routes. Then come an operator's overrides, which may be nil.
//
// With etcd before consul, where etcd announces a and b and consul b and c, the result is etcd's a and b and consul's c,
// of which b names both sources. So it does if consul has b's address under another ID.
func merge(name string, layers []layer, over override, mode MergeMode) merged {
	m := merged{name: name, mode: mode}
	layers = m.choose(layers, mode)
	m.announced = len(layers) > 0
	for _, l := range layers {
		if l.service.Policy != nil {
			m.texts = append(m.texts, PolicyText{Source: l.source, Text: l.service.Policy})
		}
		for _, r := range l.service.Routes {
			m.routes = append(m.routes, announced{route: r, source: l.source, owner: name, rank: l.rank})
		}
		backends, problems := ordered(l)
		m.problems = append(m.problems, problems...)
		m.backends = mergeBackends(m.backends, backends, l)
	}
	if over != nil {
		m.backends = over.apply(m.backends)
	}
	return m
}

// choose returns the layers that a mode takes, and keeps what is to be compared.
func (m *merged) choose(layers []layer, mode MergeMode) []layer {
	var taken []layer
	served := false // by a source that is not fixed
	for _, l := range layers {
		switch {
		case l.fixed, mode != MergePriority && mode != MergeShadow, mode == MergePriority && !served:
			taken = append(taken, l)
		case mode == MergeShadow && l.first:
			m.authority = l
			taken = append(taken, l)
		case mode == MergeShadow:
			m.shadows = append(m.shadows, l)
		}
		served = served || !l.fixed && len(l.service.Backends) > 0
	}
	return taken
}

// ordered returns a layer's backends in order of ID and without duplicates, as sources should announce them anyway.
func ordered(l layer) ([]discovery.Backend, []discovery.Problem) {
	bs := l.service.Backends
	byID := func(a, b discovery.Backend) int { return strings.Compare(a.ID, b.ID) }
	ascending := true
	for i := 1; i < len(bs) && ascending; i++ {
		ascending = bs[i-1].ID < bs[i].ID
	}
	if ascending {
		return bs, nil
	}
	bs = slices.Clone(bs)
	slices.SortStableFunc(bs, byID)
	var problems []discovery.Problem
	out := bs[:1]
	for _, b := range bs[1:] {
		if b.ID != out[len(out)-1].ID {
			out = append(out, b)
			continue
		}
		problems = append(problems, discovery.Problem{
			Source: l.source, Key: "backend " + clip(b.ID) + " of service " + l.service.Name, Code: discovery.CodeDuplicate,
			Detail: "the source announces two backends with this id; the first is taken"})
	}
	return out, problems
}

// mergeBackends adds a weaker source's backends to those of the stronger ones. Both are in order of ID.
func mergeBackends(strong []mergedBackend, weak []discovery.Backend, l layer) []mergedBackend {
	if len(weak) == 0 {
		return strong
	}
	alone := []string{l.source}
	out := make([]mergedBackend, 0, len(strong)+len(weak))
	if len(strong) == 0 {
		for _, b := range weak {
			out = append(out, mergedBackend{b, alone, l.holds(b.ID)})
		}
		return out
	}
	byURL := make(map[string]int, len(strong))
	for i := range strong {
		if _, twice := byURL[strong[i].URL]; !twice {
			byURL[strong[i].URL] = i
		}
	}
	strong = slices.Clone(strong)
	both := func(i int, id string) {
		s := &strong[i]
		s.sources = append(slices.Clip(s.sources), l.source)
		s.held = s.held && l.holds(id)
	}
	for _, b := range weak {
		if i, ok := byURL[b.URL]; ok {
			both(i, b.ID)
		} else if i, ok := slices.BinarySearchFunc(strong, b.ID, compareMergedID); ok {
			both(i, b.ID)
		} else {
			out = append(out, mergedBackend{b, alone, l.holds(b.ID)})
		}
	}
	out = append(out, strong...)
	slices.SortFunc(out, func(a, b mergedBackend) int { return strings.Compare(a.ID, b.ID) })
	return out
}

func compareMergedID(b mergedBackend, id string) int { return strings.Compare(b.ID, id) }

// holds reports whether the guard holds the backend.
func (l *layer) holds(id string) bool {
	if len(l.held) == 0 {
		return false
	}
	_, found := slices.BinarySearch(l.held, id)
	return found
}

func equalTexts(a, b []PolicyText) bool {
	return slices.EqualFunc(a, b, func(x, y PolicyText) bool { return x.Source == y.Source && string(x.Text) == string(y.Text) })
}
