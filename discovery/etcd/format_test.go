package etcd

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/discoverytest"
	"github.com/vietddude/load-balancer/discovery/embedded"
)

// ours is the balancer's own format.
func ours() format {
	f, err := formatOf(FormatLB)
	if err != nil {
		panic(err)
	}
	return f
}

// outcome is what becomes of a key and its value, as the files in testdata have it.
func outcome(f format, key, value string) string {
	p, wrong := f.locate(key)
	if wrong == nil && p.kind == foreign {
		return "-"
	}
	var b discovery.Backend
	announced := true
	if wrong == nil {
		b, announced, wrong = f.decode(p.id, []byte(value))
	}
	switch {
	case wrong != nil:
		return wrong.code
	case !announced:
		return "-"
	}
	text := fmt.Sprintf("%s/%s %s weight=%d", p.service, b.ID, b.URL, b.Weight)
	if b.Zone != "" {
		text += " zone=" + b.Zone
	}
	for _, k := range slices.Sorted(maps.Keys(b.Meta)) {
		text += " " + k + "=" + b.Meta[k]
	}
	return text
}

func TestOthersFormatsAreReadAsTheyAreWritten(t *testing.T) {
	for _, name := range Formats() {
		if name == FormatLB {
			continue
		}
		t.Run(name, func(t *testing.T) {
			f, err := formatOf(name)
			if err != nil {
				t.Fatal(err)
			}
			file, err := os.Open(filepath.Join("testdata", name+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			lines := bufio.NewScanner(file)
			for lines.Scan() {
				put, ok := strings.CutPrefix(lines.Text(), "put ")
				if !ok {
					continue
				}
				// A key may have spaces; the value begins with the first that is an object or an address.
				key, value, _ := strings.Cut(put, " ")
				if rest, object, found := strings.Cut(put, " {"); found {
					key, value = rest, "{"+object
				}
				lines.Scan()
				if got, want := outcome(f, key, value), strings.TrimSpace(lines.Text()); got != want {
					t.Errorf("%s %s\n is %s\nwant %s", key, value, got, want)
				}
			}
		})
	}
}

func TestAFormatHasItsOwnPlaceInTheStore(t *testing.T) {
	s := newStore(t, embedded.Options{})
	s.put(t, "/microservices/web/a", `{"endpoints":["http://10.0.0.1:80"]}`)
	s.put(t, "/microservices-old/web/b", `{"endpoints":["http://10.0.0.2:80"]}`)
	s.put(t, "web/1", "10.0.0.3:80")
	s.put(t, "prod/web/2", "10.0.0.4:80")
	s.put(t, "/prod/web/3", "10.0.0.5:80")
	s.put(t, "ns/web/c", `{"Op":0,"Addr":"10.0.0.6:80"}`)
	s.put(t, "/skydns/web/d", `{"host":"10.0.0.7","port":80}`)
	s.put(t, key("web", "e"), "10.0.0.8:80")
	for url, want := range map[string]string{
		"etcd://h?format=kratos":                   "http://10.0.0.1:80",
		"etcd://h?format=go-zero":                  "http://10.0.0.3:80",
		"etcd://h/prod?format=go-zero":             "http://10.0.0.4:80",
		"etcd://h//prod?format=go-zero":            "http://10.0.0.5:80",
		"etcd://h/ns?format=endpoints":             "http://10.0.0.6:80",
		"etcd://h?format=skydns":                   "http://10.0.0.7:80",
		"etcd://h?format=lb":                       "http://10.0.0.8:80",
		"etcd://h/microservices-old?format=kratos": "http://10.0.0.2:80",
	} {
		o, err := ParseURL(url, nil)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		rec := discoverytest.NewRecorder(t)
		stop := discoverytest.Start(t, s.source(t, o), rec)
		if got := rec.AwaitInStep(s.ctx); !slices.Equal(got.URLs("web"), []string{want}) {
			t.Errorf("%s: web has %v, want %s:\n%v", url, got.URLs("web"), want, got)
		}
		stop()
	}
}

func TestARecordThatAnnouncesNobodyAnyMoreWithdrawsItsBackend(t *testing.T) {
	f, err := formatOf(FormatSkyDNS)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, decoder{})
	b.format = f
	b.puts(b.kv("web/a", `{"host":"10.0.0.1","port":80}`, 5))
	if now := b.puts(b.kv("web/a", `{"text":"moved"}`, 5)); len(now.Services) != 0 || len(now.Problems) != 0 {
		t.Errorf("web must be gone without a problem:\n%v", now)
	}
	if now := b.puts(b.kv("web/a", `{"host":"10.0.0.1","port":80}`, 5)); len(now.URLs("web")) != 1 {
		t.Errorf("web must be back:\n%v", now)
	}
}

func TestAFormatThatIsNotKnownIsRefusedWithThoseThatAre(t *testing.T) {
	_, err := ParseURL("etcd://h?format=eureka", nil)
	if err == nil || !strings.Contains(err.Error(), FormatKratos) {
		t.Errorf("the error is %v, want the formats that there are", err)
	}
}

// No value makes a decoder panic, and what it takes is in order.
func FuzzFormats(f *testing.F) {
	for _, name := range Formats() {
		f.Add(name, "web/a", `{"Op":0,"Addr":"10.0.0.1:80","host":"h","port":80,"endpoints":["http://h:1"],"metadata":{"weight":"1"}}`)
		f.Add(name, "services/web/1", "10.0.0.1:80")
	}
	f.Fuzz(func(t *testing.T, name, key, value string) {
		form, err := formatOf(name)
		if err != nil {
			return
		}
		p, wrong := form.locate(key)
		if wrong != nil || p.kind != backendKind {
			return
		}
		b, announced, wrong := form.decode(p.id, []byte(value))
		if wrong != nil || !announced {
			return
		}
		s := discoverytest.Service(p.service, b)
		if err := discoverytest.CheckService(s); err != nil {
			t.Errorf("%s: %q %q is taken as %+v: %v", name, key, value, b, err)
		}
	})
}
