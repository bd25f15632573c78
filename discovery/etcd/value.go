package etcd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/vietddude/load-balancer/discovery"
)

// maxValue is the greatest length in bytes of a value that is read.
const maxValue = 64 << 10

// fault is why an item cannot be taken.
type fault struct {
	code   string // one of the Code constants
	detail string
}

func faultf(code, format string, a ...any) *fault {
	return &fault{code, fmt.Sprintf(format, a...)}
}

// decodeBackend reads the value of a backend's key, in any of its forms.
func decodeBackend(id string, value []byte) (discovery.Backend, *fault) {
	b := discovery.Backend{ID: id, Weight: 1}
	text := bytes.TrimSpace(value)
	if len(text) == 0 {
		return b, faultf(discovery.CodeBadValue, "the value is empty; want an address, or an object with a url")
	}
	if text[0] != '{' {
		return b, setURL(&b, string(text))
	}
	if b, ok := quickObject(id, text); ok {
		return b, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return b, faultf(discovery.CodeBadValue, "the JSON cannot be read: %v", err)
	}
	return slowObject(id, fields)
}

// slowObject reads an object of either kind.
func slowObject(id string, fields map[string]json.RawMessage) (discovery.Backend, *fault) {
	b := discovery.Backend{ID: id, Weight: 1}
	if _, ok := fields["url"]; !ok && fields["Addr"] != nil {
		return b, decodeEndpoint(&b, fields)
	}
	return b, decodeObject(&b, fields)
}

// decodeObject reads {"url": …, "weight": …, "zone": …, "meta": {…}, "state": …}.
func decodeObject(b *discovery.Backend, fields map[string]json.RawMessage) *fault {
	var url, state string
	if _, ok := fields["url"]; !ok {
		return faultf(discovery.CodeBadURL, `the object has no "url"`)
	}
	if f := readString(fields, "url", discovery.CodeBadURL, &url); f != nil {
		return f
	}
	if f := setURL(b, url); f != nil {
		return f
	}
	if f := readWeight(fields, false, b); f != nil {
		return f
	}
	if f := readString(fields, "zone", discovery.CodeBadValue, &b.Zone); f != nil {
		return f
	}
	if f := readString(fields, "state", discovery.CodeBadValue, &state); f != nil {
		return f
	}
	switch state {
	case "", "up":
	case "drain":
		b.Draining = true
	default:
		return faultf(discovery.CodeBadValue, `"state" is %q; want "up" or "drain"`, clip(state))
	}
	if raw := fields["meta"]; raw != nil {
		var meta map[string]*string
		if err := json.Unmarshal(raw, &meta); err != nil {
			return faultf(discovery.CodeBadValue, `"meta" must be an object of strings: %v`, err)
		}
		for k, v := range meta {
			if v != nil {
				setMeta(b, k, *v)
			}
		}
	}
	return nil
}

// decodeEndpoint reads what etcd's endpoint manager writes, {"Op": 0, "Addr": …, "Metadata": …}. Of metadata that is an
// object, weight (a number, or one in a string, as gRPC's own balancers have it) and zone are ours; the rest is shown.
func decodeEndpoint(b *discovery.Backend, fields map[string]json.RawMessage) *fault {
	var addr string
	if raw := fields["Op"]; raw != nil {
		var op int
		if err := json.Unmarshal(raw, &op); err != nil || op != 0 {
			return faultf(discovery.CodeBadValue, `"Op" is %s; want 0, which adds an endpoint`, clip(string(raw)))
		}
	}
	if f := readString(fields, "Addr", discovery.CodeBadURL, &addr); f != nil {
		return f
	}
	if f := setURL(b, addr); f != nil {
		return f
	}
	raw := bytes.TrimSpace(fields["Metadata"])
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil
	}
	if raw[0] != '{' {
		setMeta(b, "metadata", plain(raw))
		return nil
	}
	var meta map[string]json.RawMessage
	if err := json.Unmarshal(raw, &meta); err != nil {
		return faultf(discovery.CodeBadValue, `"Metadata" cannot be read: %v`, err)
	}
	if f := readWeight(meta, true, b); f != nil {
		return f
	}
	if f := readString(meta, "zone", discovery.CodeBadValue, &b.Zone); f != nil {
		return f
	}
	for k, v := range meta {
		if k != "weight" && k != "zone" {
			setMeta(b, k, plain(v))
		}
	}
	return nil
}

func setURL(b *discovery.Backend, text string) *fault {
	url, err := discovery.ParseURL(text)
	if err != nil {
		return &fault{discovery.CodeBadURL, err.Error()}
	}
	b.URL = url
	return nil
}

func setMeta(b *discovery.Backend, key, value string) {
	if b.Meta == nil {
		b.Meta = map[string]string{}
	}
	b.Meta[key] = value
}

// readString reads a field that is a string, null or absent.
func readString(fields map[string]json.RawMessage, name, code string, to *string) *fault {
	raw := fields[name]
	if raw == nil {
		return nil
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return faultf(code, "%q must be a string, not %s", name, clip(string(raw)))
	}
	return nil
}

// readWeight reads a field that is a whole number, null or absent; with quoted, also a number in a string.
func readWeight(fields map[string]json.RawMessage, quoted bool, b *discovery.Backend) *fault {
	raw := string(fields["weight"])
	if raw == "" || raw == "null" {
		return nil
	}
	text := raw
	if quoted {
		text = strings.Trim(raw, `"`)
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n != math.Trunc(n) || n < 0 || n > discovery.MaxWeight {
		return faultf(discovery.CodeBadWeight, `"weight" is %s; want a whole number from 0 to %d`, clip(raw), discovery.MaxWeight)
	}
	b.Weight = int(n)
	return nil
}

// plain is a JSON string's content, or any other value's text.
func plain(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// clip bounds a foreign text for a message.
func clip(s string) string {
	const limit = 300
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
