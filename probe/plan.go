package probe

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// plan is what is made of options once, for all targets that have them.
type plan struct {
	method   string
	path     string
	before   []byte // of an http request's head, up to the value of Host
	after    []byte // from there to its end
	asked    *http.Request
	host     string // instead of the target's
	headers  []Header
	statuses statuses
	shown    string // the statuses, for people
	body     []byte
	regexp   *regexp.Regexp
}

// newPlan reads options; its error says what is wrong with them.
func newPlan(o *Options, userAgent string) (*plan, error) {
	p := &plan{method: o.Method, path: o.Path, host: o.Host, body: []byte(o.Body)}
	if p.method == "" {
		p.method = http.MethodGet
	}
	if !strings.HasPrefix(p.path, "/") {
		p.path = "/" + p.path
	}
	for i := range len(p.path) {
		if c := p.path[i]; c <= ' ' || c >= 0x7f {
			return nil, fmt.Errorf("the probe's path %q cannot be asked for: it holds the byte %#02x", clip(p.path), c)
		}
	}
	if !httpguts.ValidHeaderFieldName(p.method) { // a method is a token too
		return nil, fmt.Errorf("the probe's method %q is none", clip(p.method))
	}
	if !httpguts.ValidHostHeader(p.host) {
		return nil, fmt.Errorf("the probe's host %q is none", clip(p.host))
	}
	var err error
	if p.headers, err = ParseHeaders(o.Headers); err != nil {
		return nil, err
	}
	text := o.Statuses
	if text == "" {
		text = "200-399"
	}
	if p.statuses, p.shown, err = parseStatuses(text); err != nil {
		return nil, err
	}
	if o.BodyRegexp != "" {
		if p.regexp, err = regexp.Compile(o.BodyRegexp); err != nil {
			return nil, fmt.Errorf("the pattern for the probe's body: %w", err)
		}
	}
	p.asked = &http.Request{Method: p.method}
	p.before = []byte(p.method + " " + p.path + " HTTP/1.1\r\nHost: ")
	p.after = []byte("\r\n")
	own := false
	for _, h := range p.headers {
		own = own || h.Name == "User-Agent"
		p.after = append(p.after, h.Name+": "+h.Value+"\r\n"...)
	}
	if !own {
		p.after = append(p.after, "User-Agent: "+userAgent+"\r\n"...)
	}
	p.after = append(p.after, "Accept: */*\r\n\r\n"...)
	return p, nil
}

// Header is a field of a probe's request.
type Header struct{ Name, Value string }

// framing are fields that a probe sets itself, or that would make it something else.
var framing = map[string]bool{
	"Host": true, "Connection": true, "Content-Length": true, "Transfer-Encoding": true, "Upgrade": true, "Te": true,
	"Trailer": true, "Expect": true, "Accept": true,
}

// ParseHeaders reads fields of requests: a line "Name: value" for each. Names come back in canonical form; one that is
// named twice, or that is a probe's own, is an error.
func ParseHeaders(text string) ([]Header, error) {
	var out []Header
	seen := map[string]bool{}
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)), strings.TrimSpace(value)
		switch {
		case !ok:
			return nil, errors.New("a header field is written Name: value, one a line")
		case !httpguts.ValidHeaderFieldName(name):
			return nil, fmt.Errorf("%q is no name of a header field", clip(name))
		case !httpguts.ValidHeaderFieldValue(value):
			return nil, fmt.Errorf("the value of the header field %s holds control characters", name) // it may be a secret
		case name == "Host":
			return nil, errors.New("the header field Host is set by host")
		case framing[name]:
			return nil, fmt.Errorf("the header field %s is the probe's own", name)
		case seen[name]:
			return nil, fmt.Errorf("the header field %s is named twice", name)
		}
		seen[name] = true
		out = append(out, Header{name, value})
	}
	return out, nil
}

// statuses is a set of statuses from 0 to 1023.
type statuses [16]uint64

func (s *statuses) has(code int) bool {
	return code >= 0 && code < 1024 && s[code>>6]&(1<<(code&63)) != 0
}

// ParseStatuses reads statuses and ranges of them, "200-299, 401", and returns them in normal form.
func ParseStatuses(text string) (string, error) {
	_, shown, err := parseStatuses(text)
	return strings.ReplaceAll(shown, "–", "-"), err
}

// parseStatuses also returns how the set is shown to people.
func parseStatuses(text string) (set statuses, shown string, err error) {
	var parts []string
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		low, err1 := strconv.Atoi(strings.TrimSpace(first))
		high, err2 := strconv.Atoi(strings.TrimSpace(last))
		if err1 != nil || err2 != nil || low < 200 || high > 599 || low > high {
			return set, "", fmt.Errorf("%q is no status from 200 to 599 and no range such as 200-299", clip(part))
		}
		for code := low; code <= high; code++ {
			set[code>>6] |= 1 << (code & 63)
		}
		if low == high {
			parts = append(parts, strconv.Itoa(low))
		} else {
			parts = append(parts, fmt.Sprintf("%d–%d", low, high))
		}
	}
	return set, strings.Join(parts, ", "), nil
}
