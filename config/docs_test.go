package config

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

const docs = "../docs/configuration.md"

// The tables of the documentation are made from the fields that decode the file, so that they cannot drift apart:
// go test ./config -run Documentation -update writes them.
func TestTheDocumentationHasTheTablesOfTheCode(t *testing.T) {
	old, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	text := string(old)
	for name, table := range tables() {
		begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
		i, j := strings.Index(text, begin), strings.Index(text, end)
		if i < 0 || j < i {
			t.Fatalf("%s has no place %q … %q for a table", docs, begin, end)
		}
		text = text[:i+len(begin)] + table + text[j:]
	}
	if *update {
		if err := os.WriteFile(docs, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != string(old) {
		t.Errorf("the tables of %s are not those of the code; run go test ./config -run Documentation -update", docs)
	}
}

func TestEveryKeyHasAMeaningAndADefault(t *testing.T) {
	var walk func(at string, infos []*info)
	walk = func(at string, infos []*info) {
		for _, i := range infos {
			key := at + i.name
			if i.about == "" {
				t.Errorf("%s has no meaning", key)
			}
			if i.typ == "" {
				t.Errorf("%s has no type", key)
			}
			walk(key+".", i.sub)
		}
	}
	walk("", root.infos())
}

func tables() map[string]string {
	var out = map[string]string{"environment": environmentTable()}
	policy := map[string]bool{}
	var top, defaults bytes.Buffer
	for _, g := range policyGroups {
		policy[g.name] = true
	}
	for _, f := range policyGroups[0].fields { // those of the top level
		policy[f.name] = true
	}
	for _, i := range root.infos() {
		if policy[i.name] {
			rows(&defaults, "", i)
			continue
		}
		rows(&top, "", i)
	}
	const head = "| key | value | default | reload | meaning |\n| --- | --- | --- | --- | --- |\n"
	out["keys"], out["policy"] = head+top.String(), head+defaults.String()
	return out
}

func rows(w *bytes.Buffer, at string, i *info) {
	key := at + i.name
	def := i.def
	switch {
	case i.sub != nil || def == "":
		def = "none"
	case !strings.Contains(def, " ") && def != "required" && def != "none" && def != "nothing":
		def = "`" + def + "`"
	}
	typ, reload := i.typ, "yes"
	if i.sub != nil && def == "none" {
		def = ""
	}
	if i.restart {
		reload = "no"
	}
	about := i.about
	for _, a := range i.aliases {
		if !strings.Contains(about, "`"+a+"`") {
			about += " Also `" + a + "`."
		}
	}
	fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s |\n", key, typ, def, reload, about)
	if i.name == "services" {
		return // a service's keys are those of the policy, and backends
	}
	next := key + "."
	switch {
	case i.name == "listen":
	case i.many:
		next = key + "[]."
	}
	for _, s := range i.sub {
		rows(w, next, s)
	}
}

func environmentTable() string {
	var b strings.Builder
	b.WriteString("| variable | key |\n| --- | --- |\n")
	for _, v := range variables() {
		fmt.Fprintf(&b, "| `%s` | `%s` |\n", v.name, strings.Join(v.path, "."))
	}
	return b.String()
}
