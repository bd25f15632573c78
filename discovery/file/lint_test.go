package file

import (
	"errors"
	"testing"

	"github.com/vietddude/load-balancer/discovery"
)

func TestLintTellsWhatASourceWouldRejectOfAFile(t *testing.T) {
	parse := func(_ string, data []byte) ([]discovery.Service, []discovery.Route, []discovery.Problem, error) {
		switch string(data) {
		case "no yaml":
			return nil, nil, nil, errors.New("line 1: no YAML")
		case "one mistake":
			return nil, nil, []discovery.Problem{{Key: "f:1:1", Code: discovery.CodeBadURL, Detail: "x"}}, nil
		}
		return nil, nil, nil, nil
	}
	if got := Lint(parse, "f", []byte("fine")); len(got) != 0 {
		t.Errorf("got %+v, want nothing", got)
	}
	if got := Lint(parse, "f", []byte("one mistake")); len(got) != 1 || got[0].Key != "f:1:1" {
		t.Errorf("got %+v, want the mistake", got)
	}
	if got := Lint(parse, "f", []byte("no yaml")); len(got) != 1 || got[0].Key != "f" || got[0].Detail != "line 1: no YAML" {
		t.Errorf("got %+v, want the file refused", got)
	}
}
