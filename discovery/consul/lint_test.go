package consul

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/discovery"
)

// noColours is a grammar that knows no colours.
type noColours struct{}

func (noColours) Route(string, []byte) (discovery.Route, error) { panic("not asked") }

func (noColours) CheckPolicy(text []byte) error {
	if strings.Contains(string(text), "colour") {
		return errors.New("unknown key colour")
	}
	return nil
}

func TestLintTellsWhatASourceWouldRejectOfInstances(t *testing.T) {
	for name, c := range map[string]struct {
		o         Options
		instances []Instance
		want      []string // key and code
	}{
		"in order":               {instances: []Instance{{Service: "web", Port: 80, Tags: []string{"lb.host=a.b"}}}},
		"Consul itself":          {instances: []Instance{{Service: "consul"}}},
		"no port":                {instances: []Instance{{Service: "web"}}, want: []string{"web/web@node bad-url"}},
		"a name that is none":    {instances: []Instance{{Service: "we b", Port: 80}}, want: []string{"we b bad-name"}},
		"a tag of no meaning":    {instances: []Instance{{Service: "web", ID: "w1", Node: "n1", Port: 80, Tags: []string{"lb.x"}}}, want: []string{"web/w1@n1 lb.x bad-option"}},
		"not tagged":             {o: Options{Tag: "lb"}, instances: []Instance{{Service: "web"}}},
		"tagged":                 {o: Options{Tag: "lb"}, instances: []Instance{{Service: "web", Tags: []string{"lb"}}}, want: []string{"web/web@node bad-url"}},
		"a policy that is none":  {o: Options{Decoder: noColours{}}, instances: []Instance{{Service: "web", Port: 80, Meta: map[string]string{"lb-colour": "red"}}}, want: []string{"web/web@node lb-colour=red bad-policy"}},
		"a weight too great":     {instances: []Instance{{Service: "web", Port: 80, PassingWeight: 5000, WarningWeight: 1}}, want: []string{"web/web@node bad-weight"}},
		"the older disagrees":    {instances: []Instance{{Service: "web", ID: "old", Port: 80, Tags: []string{"lb.algorithm=p2c"}}, {Service: "web", ID: "new", Port: 80, Tags: []string{"lb.algorithm=ewma"}}}, want: []string{"web/old@node lb.algorithm=p2c disagree"}},
		"each service by itself": {instances: []Instance{{Service: "web"}, {Service: "api"}}, want: []string{"api/api@node bad-url", "web/web@node bad-url"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range Lint(c.o, c.instances) {
				got = append(got, p.Key+" "+p.Code)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
