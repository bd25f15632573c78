package etcd

import (
	"encoding/json"
	"testing"
)

func TestWhatIsUsuallyWrittenIsReadQuickly(t *testing.T) {
	for value, want := range map[string]bool{
		valueOf(1, 1, true):                           true,
		`{"url":"10.0.0.1:80"}`:                       true,
		` { "url" : "10.0.0.1:80" , "meta" : { } } `:  true,
		`{"meta":{"a":"1","b":""},"url":"h:1"}`:       true,
		`{"url":"h:1","state":"drain","weight":1000}`: true,
		`{"url":"h:1","state":"up","weight":0}`:       true,
		`{"url":"h:1","weight":1001}`:                 false,
		`{"url":"h:1","weight":01}`:                   false,
		`{"url":"h:1","weight":1e1}`:                  false,
		`{"url":"h:1","zone":"é"}`:                    false,
		`{"url":"h:1","zone":"\u0061"}`:               false,
		`{"url":"h:1","url":"h:2"}`:                   false,
		`{"url":"h:1","other":1}`:                     false,
		`{"url":"h:1"} x`:                             false,
		`{"url":"h:1",}`:                              false,
		`{"url":"h:1","meta":{"a":1}}`:                false,
		`{"url":"h:1","meta":{"a":"1","a":"2"}}`:      false,
		`{"url":"h:1"`:                                false,
		`{"url":"h"}`:                                 false,
		`{}`:                                          false,
		`{"url":"h:1","state":"later"}`:               false,
	} {
		if _, got := quickObject("b", []byte(value)); got != want {
			t.Errorf("%s is read quickly: %v, want %v", value, got, want)
		}
	}
}

// What is read quickly is what would have been read slowly.
func FuzzQuickObject(f *testing.F) {
	f.Add(valueOf(1, 1, true))
	f.Add(`{"url":"h:1","state":"drain","weight":10,"meta":{"a":"b"}}`)
	f.Add(` { "url" : "h:1" , "meta" : { } , "zone" : "" } `)
	f.Fuzz(func(t *testing.T, text string) {
		quickly, ok := quickObject("b", []byte(text))
		if !ok {
			return
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &fields); err != nil {
			t.Fatalf("%q is read though it is no JSON: %v", text, err)
		}
		slowly, fault := slowObject("b", fields)
		if fault != nil || !quickly.Equal(slowly) {
			t.Errorf("%q is read as %+v, and slowly as %+v (%v)", text, quickly, slowly, fault)
		}
	})
}
