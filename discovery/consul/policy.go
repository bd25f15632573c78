package consul

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vietddude/load-balancer/discovery"
)

// option is an option of a policy and the instance that announces it.
type option struct {
	key   string
	label label
	from  string // the key of the instance, for problems
}

// policy makes the text of a policy of its options, which come in order of key, one for each. An option that the
// configuration's grammar refuses is left out alone; the verdict is that on the whole where options depend on each
// other.
func policy(options []option, check func([]byte) error) ([]byte, []discovery.Problem) {
	if len(options) == 0 {
		return nil, nil
	}
	tree := map[string]any{}
	var problems []discovery.Problem
	var taken []option
	for i, o := range options {
		if i == maxLabels {
			problems = append(problems, o.problem(discovery.CodeTooLarge,
				fmt.Sprintf("a service may have %d options; this one and those after it are left out", maxLabels)))
			break
		}
		if !put(tree, o) {
			problems = append(problems, o.problem(discovery.CodeBadOption, "another label gives a value to what holds this one"))
			continue
		}
		taken = append(taken, o)
	}
	text := encode(tree)
	if check == nil || check(text) == nil {
		return text, problems
	}
	taken, wrong := acceptable(taken, check)
	problems = append(problems, wrong...)
	if len(taken) == 0 {
		return nil, problems
	}
	tree = map[string]any{}
	for _, o := range taken {
		put(tree, o)
	}
	return encode(tree), problems
}

// remember returns a check that asks about the same text but once, for a source that comes back to the same few texts
// at every change of health. It is for one goroutine.
func remember(check func([]byte) error) func([]byte) error {
	const limit = 10_000
	verdicts := map[string]error{}
	return func(text []byte) error {
		err, known := verdicts[string(text)]
		if !known {
			if len(verdicts) == limit {
				clear(verdicts)
			}
			err = check(text)
			verdicts[string(text)] = err
		}
		return err
	}
}

// acceptable are the options that can be taken together, found by adding one after the other: round after round,
// since one may make sense only beside a later one.
func acceptable(options []option, check func([]byte) error) (taken []option, wrong []discovery.Problem) {
	tree := map[string]any{}
	for range maxDepth {
		var refused []option
		wrong = nil
		for _, o := range options {
			put(tree, o)
			if err := check(encode(tree)); err != nil {
				remove(tree, o.key)
				refused = append(refused, o)
				wrong = append(wrong, o.problem(discovery.CodeBadPolicy, clip(strings.Join(strings.Fields(err.Error()), " "))))
				continue
			}
			taken = append(taken, o)
		}
		if len(refused) == 0 || len(refused) == len(options) {
			return taken, wrong
		}
		options = refused
	}
	return taken, wrong
}

func (o option) problem(code, detail string) discovery.Problem {
	return discovery.Problem{Key: o.from + " " + clip(o.label.text), Code: code, Detail: detail}
}

// put sets an option in a tree of objects, and reports whether no other one is in its way.
func put(tree map[string]any, o option) bool {
	parts := strings.Split(o.key, ".")
	last := len(parts) - 1
	for _, part := range parts[:last] {
		if tree[part] == nil {
			tree[part] = map[string]any{}
		}
		next, ok := tree[part].(map[string]any)
		if !ok {
			return false
		}
		tree = next
	}
	if _, taken := tree[parts[last]]; taken {
		return false
	}
	tree[parts[last]] = o.label.value
	return true
}

// remove takes an option out of a tree, with the objects that it leaves empty.
func remove(tree map[string]any, key string) {
	head, rest, ok := strings.Cut(key, ".")
	if !ok {
		delete(tree, key)
		return
	}
	next := tree[head].(map[string]any)
	remove(next, rest)
	if len(next) == 0 {
		delete(tree, head)
	}
}

func encode(tree map[string]any) []byte {
	text, err := json.Marshal(tree)
	if err != nil { // strings and maps of them always encode
		panic(fmt.Sprintf("consul: encoding a policy: %v", err))
	}
	return text
}

// mergePolicies takes the options of all instances, the newest first; where two say otherwise the newer wins.
func mergePolicies(instances []*instance) ([]option, []discovery.Problem) {
	winners := map[string]option{}
	var problems []discovery.Problem
	for _, in := range instances {
		for _, key := range slices.Sorted(maps.Keys(in.labels.policy)) {
			o := option{key: key, label: in.labels.policy[key], from: in.key}
			w, ok := winners[key]
			switch {
			case !ok:
				winners[key] = o
			case w.label.value != o.label.value:
				problems = append(problems, o.problem(discovery.CodeDisagree, fmt.Sprintf(
					"%s says %q and is newer; make both say the same", w.from, clip(w.label.text))))
			}
		}
	}
	return slices.SortedFunc(maps.Values(winners), func(a, b option) int { return strings.Compare(a.key, b.key) }), problems
}

// mergeRoutes takes the routes of all instances, the newest first; where two of the same match differ otherwise the
// newer wins.
func mergeRoutes(service string, instances []*instance) ([]discovery.Route, []discovery.Problem) {
	type winner struct {
		route discovery.Route
		from  string
	}
	winners := map[string]winner{}
	var problems []discovery.Problem
	for _, in := range instances {
		for _, r := range in.labels.routes {
			m := match(r)
			w, ok := winners[m]
			switch {
			case !ok:
				r.Service = service
				r.Name = routeName(r)
				winners[m] = winner{r, in.key}
			case w.route.StripPrefix != r.StripPrefix:
				problems = append(problems, discovery.Problem{
					Key: in.key + " " + clip(routeText(r)), Code: discovery.CodeDisagree,
					Detail: fmt.Sprintf("%s, which is as new or newer, strips %q from the path and this %q; make both say the same",
						w.from, clip(w.route.StripPrefix), clip(r.StripPrefix)),
				})
			}
		}
	}
	var routes []discovery.Route
	for _, m := range slices.Sorted(maps.Keys(winners)) {
		routes = append(routes, winners[m].route)
	}
	return routes, problems
}
