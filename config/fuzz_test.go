package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/*.json", "../examples/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	for _, s := range []string{"", "a: &a {<<: *a}", "? [a]: b", "!!map {}", "&a [*a]", "a: |\n", "{\"a\":1,}", "%YAML 1.2\n---\n{}", "\uFEFFlisten: {}", "a: !x y", "<<: [1]", "listen: *x\r\n", "\"\\ud800\": 1", "- - - a", "'"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return
		}
		c, err := Parse("f", data)
		var problems Problems
		switch {
		case err == nil:
			if p := c.Validate(); p != nil {
				t.Errorf("what was accepted is invalid: %v", p)
			}
			for name := range c.Services {
				if p, _ := c.Policy(name); p.Algorithm == "" || p.HealthCheck.Timeout <= 0 || p.StickySession.Timeout <= 0 {
					t.Errorf("policy %+v", p)
				}
				text := c.Services[name].Policy.Text()
				if o, problems := parsePolicy(text); len(problems) > 0 || !reflect.DeepEqual(o, c.Services[name].Policy) {
					t.Errorf("%s does not give again what it is from: %v", text, problems)
				}
			}
		case !errors.As(err, &problems) || len(problems) == 0:
			t.Errorf("the error is %T", err)
		}
		for _, p := range problems {
			if p.Message == "" || p.Line < 0 || p.Column < 0 || len(p.Error()) > 4096 || strings.Contains(p.Message, "\n") {
				t.Errorf("%+v", p)
			}
		}
		a, announced := ParseAnnouncement("f", data)
		if a == nil && len(announced) == 0 {
			t.Error("nothing is announced, and no reason given")
		}
		_, _ = ParseRoute("r", data)
	})
}

// A text of any source is read within bounds whatever it holds.
func FuzzCheckPolicy(f *testing.F) {
	f.Add([]byte("retry: {max_retries: 1}"))
	f.Add([]byte(`{"retry":{"max_retries":"1"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		err := CheckPolicy(data)
		p, errs := Default().Policy("x", data)
		if (err == nil) != (errs[0] == nil) {
			t.Errorf("CheckPolicy says %v, Policy %v", err, errs[0])
		}
		if err != nil && p != resolve() {
			t.Error("a text with a mistake changed the policy")
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("more than one line: %q", err.Error())
		}
	})
}
