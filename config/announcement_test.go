package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestAnAnnouncementKeepsWhatIsRight(t *testing.T) {
	a, problems := ParseAnnouncement("b.yaml", []byte(`services:
  web:
    algorithm: random
    retry: {max_retries: "3"}
    backends:
      - {id: a, url: "h:1"}
      - {id: a, url: "h:2"}
      - {id: b, url: "nonsense"}
      - {id: c, url: "https://h", weight: 3, zone: z}
  half:
    algorithm: random
    retry: {max_retries: many}
    backends: [{id: x, url: "h:3"}]
  "../x": {backends: [{id: x, url: "h:3"}]}
  empty:
routes:
  - {host: a.example, service: web}
  - {host: "a b", service: web}
  - {host: a.example, service: half}
  - {name: last, path: /x, service: elsewhere}
unknown: 1
`))
	want := &Announcement{
		Services: []AnnouncedService{
			{Name: "empty"},
			{Name: "half", Backends: []Backend{{"x", "http://h:3", 1, ""}}},
			{Name: "web", Backends: []Backend{{"a", "http://h:1", 1, ""}, {"c", "https://h:443", 3, "z"}}, PolicyText: []byte(`{"algorithm":"random","retry":{"max_retries":3}}`)},
		},
		Routes: []Route{{Name: "a.example", Host: "a.example", Service: "web"}, {Name: "last", Path: "/x", Service: "elsewhere"}},
	}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("got\n%+v, want\n%+v", a, want)
	}
	var lines []int
	for _, p := range problems {
		lines = append(lines, p.Line)
	}
	if want := []int{7, 8, 12, 14, 18, 19, 21}; !reflect.DeepEqual(lines, want) {
		t.Errorf("problems on lines %v, want %v\n%v", lines, want, problems)
	}
}

func TestAFileThatAnnouncesNothingForSureGivesNil(t *testing.T) {
	for _, text := range []string{"", "# no\n", "~", "null", "services: {", "- a", "text", "a: 1\n---\n\tb: 2"} {
		a, problems := ParseAnnouncement("f", []byte(text))
		if a != nil || len(problems) == 0 {
			t.Errorf("%q: %+v, %v", text, a, problems)
		}
	}
	if a, problems := ParseAnnouncement("f", []byte("{}")); a == nil || len(problems) > 0 {
		t.Errorf("{}: %v, %v", a, problems)
	}
}

func TestABlockOfAServiceThatIsNoMapIsTold(t *testing.T) {
	a, problems := ParseAnnouncement("f", []byte("services:\n  web: [a]\n  api: {backends: {}}\n"))
	if a == nil || len(problems) != 2 || !strings.Contains(problems[0].Message, "services.web must be a map") {
		t.Errorf("%+v %v", a, problems)
	}
}
