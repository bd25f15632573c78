package etcd

import (
	"maps"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/discoverytest"
)

func TestABackendIsReadInAllItsForms(t *testing.T) {
	const url = "http://10.0.0.5:8080"
	type backend = discovery.Backend
	for _, c := range []struct {
		value string
		want  backend
	}{
		{"http://10.0.0.5:8080", backend{URL: url, Weight: 1}},
		{" 10.0.0.5:8080\n", backend{URL: url, Weight: 1}},
		{"[::1]:80", backend{URL: "http://[::1]:80", Weight: 1}},
		{"https://api.internal", backend{URL: "https://api.internal:443", Weight: 1}},
		{`{"url":"http://10.0.0.5:8080"}`, backend{URL: url, Weight: 1}},
		{`{"url":"10.0.0.5:8080","weight":0}`, backend{URL: url}},
		{`{"url":"10.0.0.5:8080","weight":1000}`, backend{URL: url, Weight: 1000}},
		{`{"url":"10.0.0.5:8080","weight":2e1}`, backend{URL: url, Weight: 20}},
		{`{"url":"10.0.0.5:8080","weight":null,"zone":null,"meta":null,"state":null}`, backend{URL: url, Weight: 1}},
		{`{"url":"10.0.0.5:8080","weight":2,"zone":"a","meta":{"v":"1","none":null}}`,
			backend{URL: url, Weight: 2, Zone: "a", Meta: map[string]string{"v": "1"}}},
		{`{"url":"10.0.0.5:8080","state":"drain"}`, backend{URL: url, Weight: 1, Draining: true}},
		{`{"url":"10.0.0.5:8080","state":"up","later":[1,{"x":2}]}`, backend{URL: url, Weight: 1}},
		{`{"url":"10.0.0.5:8080","Addr":"10.0.0.6:1"}`, backend{URL: url, Weight: 1}},
		{`{"Op":0,"Addr":"10.0.0.5:8080","Metadata":null}`, backend{URL: url, Weight: 1}},
		{`{"Addr":"10.0.0.5:8080"}`, backend{URL: url, Weight: 1}},
		{`{"Op":0,"Addr":"10.0.0.5:8080","Metadata":"v1"}`, backend{URL: url, Weight: 1, Meta: map[string]string{"metadata": "v1"}}},
		{`{"Op":0,"Addr":"10.0.0.5:8080","Metadata":[1,2]}`, backend{URL: url, Weight: 1, Meta: map[string]string{"metadata": "[1,2]"}}},
		{`{"Op":0,"Addr":"10.0.0.5:8080","Metadata":{"weight":3,"zone":"b","v":1,"w":"x"}}`,
			backend{URL: url, Weight: 3, Zone: "b", Meta: map[string]string{"v": "1", "w": "x"}}},
		{`{"Op":0,"Addr":"10.0.0.5:8080","Metadata":{"weight":"7"}}`, backend{URL: url, Weight: 7}},
	} {
		c.want.ID = "b"
		got, f := decodeBackend("b", []byte(c.value))
		if f != nil {
			t.Errorf("%s: %v", c.value, f)
		} else if !got.Equal(c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.value, got, c.want)
		}
	}
}

func TestAValueThatMakesNoSenseIsRefusedWithItsReason(t *testing.T) {
	for _, c := range []struct{ value, code, detail string }{
		{"", discovery.CodeBadValue, "empty"},
		{" \n", discovery.CodeBadValue, "empty"},
		{"10.0.0.5", discovery.CodeBadURL, "no port"},
		{"10.0.0.5:0", discovery.CodeBadURL, "1 to 65535"},
		{"10.0.0.5:99999", discovery.CodeBadURL, "65535"},
		{"ftp://10.0.0.5:21", discovery.CodeBadURL, "scheme"},
		{"http://10.0.0.5:80/path", discovery.CodeBadURL, "more than an address"},
		{`"http://10.0.0.5:80"`, discovery.CodeBadURL, "want"},
		{"null", discovery.CodeBadURL, "want"},
		{"[1,2]", discovery.CodeBadURL, "want"},
		{"\x00\xff\xfe", discovery.CodeBadURL, "want"},
		{"{", discovery.CodeBadValue, "JSON"},
		{`{"url":"http://10.0.0.5:80"`, discovery.CodeBadValue, "JSON"},
		{`{"url":"http://10.0.0.5:80"} x`, discovery.CodeBadValue, "JSON"},
		{`{}`, discovery.CodeBadURL, `no "url"`},
		{`{"URL":"http://10.0.0.5:80"}`, discovery.CodeBadURL, `no "url"`},
		{`{"url":null}`, discovery.CodeBadURL, "empty"},
		{`{"url":7}`, discovery.CodeBadURL, "string"},
		{`{"url":"10.0.0.5:80","weight":-1}`, discovery.CodeBadWeight, "-1"},
		{`{"url":"10.0.0.5:80","weight":1001}`, discovery.CodeBadWeight, "1000"},
		{`{"url":"10.0.0.5:80","weight":1.5}`, discovery.CodeBadWeight, "1.5"},
		{`{"url":"10.0.0.5:80","weight":1e999}`, discovery.CodeBadWeight, "1e999"},
		{`{"url":"10.0.0.5:80","weight":"2"}`, discovery.CodeBadWeight, `"2"`},
		{`{"url":"10.0.0.5:80","weight":true}`, discovery.CodeBadWeight, "true"},
		{`{"url":"10.0.0.5:80","zone":1}`, discovery.CodeBadValue, `"zone"`},
		{`{"url":"10.0.0.5:80","state":"asleep"}`, discovery.CodeBadValue, "asleep"},
		{`{"url":"10.0.0.5:80","state":1}`, discovery.CodeBadValue, `"state"`},
		{`{"url":"10.0.0.5:80","meta":[]}`, discovery.CodeBadValue, `"meta"`},
		{`{"url":"10.0.0.5:80","meta":{"n":1}}`, discovery.CodeBadValue, `"meta"`},
		{`{"Op":1,"Addr":"10.0.0.5:80"}`, discovery.CodeBadValue, `"Op"`},
		{`{"Op":"add","Addr":"10.0.0.5:80"}`, discovery.CodeBadValue, `"Op"`},
		{`{"Op":0,"Addr":""}`, discovery.CodeBadURL, "empty"},
		{`{"Op":0,"Addr":7}`, discovery.CodeBadURL, `"Addr"`},
		{`{"Op":0,"Addr":"10.0.0.5"}`, discovery.CodeBadURL, "port"},
		{`{"Op":0,"Addr":"10.0.0.5:80","Metadata":{"weight":-1}}`, discovery.CodeBadWeight, "-1"},
		{`{"Op":0,"Addr":"10.0.0.5:80","Metadata":{"weight":"NaN"}}`, discovery.CodeBadWeight, "NaN"},
		{`{"Op":0,"Addr":"10.0.0.5:80","Metadata":{"zone":{}}}`, discovery.CodeBadValue, `"zone"`},
	} {
		b, f := decodeBackend("b", []byte(c.value))
		if f == nil {
			t.Errorf("%s: read as %+v, want %s", c.value, b, c.code)
		} else if f.code != c.code || !strings.Contains(f.detail, c.detail) {
			t.Errorf("%s: %s (%s), want %s with %q", c.value, f.code, f.detail, c.code, c.detail)
		}
	}
}

func TestADetailIsShortWhateverTheValue(t *testing.T) {
	noise := strings.Repeat("x", 60<<10)
	for _, value := range []string{noise, `{"url":"` + noise + `"}`, `{"url":"10.0.0.1:80","weight":"` + noise + `"}`,
		`{"url":"10.0.0.1:80","state":"` + noise + `"}`, `{"Op":"` + noise + `","Addr":"10.0.0.1:80"}`} {
		if _, f := decodeBackend("b", []byte(value)); f == nil || len(f.detail) > 1000 {
			t.Errorf("%.60s…: fault %.100v, want a detail of at most 1000 bytes", value, f)
		}
	}
}

func FuzzDecodeBackend(f *testing.F) {
	for _, seed := range []string{"http://10.0.0.5:8080", "10.0.0.5:8080", "", "{",
		`{"url":"http://h:1","weight":2,"zone":"a","meta":{"k":"v"},"state":"drain"}`,
		`{"Op":0,"Addr":"h:1","Metadata":{"weight":"2","zone":"a","x":[1]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		b, fault := decodeBackend("b", value)
		if fault != nil {
			if fault.code == "" || fault.detail == "" || len(fault.detail) > 2000 {
				t.Errorf("the fault of %q says too little or too much: %+v", value, fault)
			}
			return
		}
		svc := discoverytest.Service("web", b)
		if err := discoverytest.CheckService(svc); err != nil {
			t.Errorf("%q is read as %+v: %v", value, b, err)
		}
		again, _ := decodeBackend("b", value)
		if !again.Equal(b) || !maps.Equal(again.Meta, b.Meta) {
			t.Errorf("%q is read as %+v, and then as %+v", value, b, again)
		}
	})
}
