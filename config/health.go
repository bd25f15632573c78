package config

import (
	"net/netip"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// HealthRules are the words of [Policy.Health].
var healthRules = choice{words: []string{"consul", "probe", "both"}, alias: map[string]string{"registry": "consul"}}

// FailureCauses are the words of [CircuitBreaker.Failures], in order.
var failureCauses = []string{"5xx", "gateway", "connect", "timeout", "reset"}

// causeList is some of the causes, in their order.
func causeList() kind[string] {
	return normal("some of "+strings.Join(failureCauses, ", "), func(s string) (string, *fault) {
		given := map[string]bool{}
		for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
			if !slices.Contains(failureCauses, w) {
				return "", mustBe("some of "+strings.Join(failureCauses, ", "), w, "")
			}
			given[w] = true
		}
		var out []string
		for _, w := range failureCauses {
			if given[w] {
				out = append(out, w)
			}
		}
		if len(out) == 0 {
			return "", mustBe("at least one of "+strings.Join(failureCauses, ", "), s, "")
		}
		return strings.Join(out, ", "), nil
	})
}

// statusList is statuses and ranges of them: "200-299, 401".
func statusList() kind[string] {
	const want = "statuses and ranges like 200-299, 401"
	return normal(want, func(s string) (string, *fault) {
		var out []string
		for part := range strings.SplitSeq(s, ",") {
			first, last, ranged := strings.Cut(strings.TrimSpace(part), "-")
			if !ranged {
				last = first
			}
			low, err1 := strconv.Atoi(strings.TrimSpace(first))
			high, err2 := strconv.Atoi(strings.TrimSpace(last))
			if err1 != nil || err2 != nil || low < 200 || high > 599 || low > high {
				return "", mustBe(want, part, "statuses are from 200 to 599")
			}
			if low == high {
				out = append(out, strconv.Itoa(low))
			} else {
				out = append(out, strconv.Itoa(low)+"-"+strconv.Itoa(high))
			}
		}
		return strings.Join(out, ", "), nil
	})
}

// probesOwn are header fields that probes set themselves.
var probesOwn = []string{
	"Host", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Te", "Trailer", "Expect", "Accept",
}

func checkProbeHeader(name, value string) *fault {
	if f := checkToken(name); f != nil {
		return f
	}
	if name == "Host" {
		return &fault{"Host is not given here", "set health_check.host"}
	}
	if slices.Contains(probesOwn, name) {
		return &fault{name + " is set by the probe itself", "take it out"}
	}
	return checkHeaderValue(value)
}

// headerLines is a line "Name: value" for each field, sorted by name.
func headerLines() kind[string] {
	return normal("map of texts, or lines Name: value", func(s string) (string, *fault) {
		given := map[string]string{}
		for line := range strings.SplitSeq(s, "\n") {
			if strings.TrimSpace(line) == "" {
				continue
			}
			name, value, ok := strings.Cut(line, ":")
			if !ok { // the line is not shown: it may hold a secret
				return "", &fault{"must be lines of the form Name: value", "write headers: {Name: value}"}
			}
			name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
			if _, twice := given[name]; twice {
				return "", &fault{quote(name) + " is given twice", "case does not matter in names of headers"}
			}
			given[name] = strings.TrimSpace(value)
			if f := checkProbeHeader(name, given[name]); f != nil {
				return "", f
			}
		}
		return joinHeaders(given), nil
	})
}

func joinHeaders(given map[string]string) string {
	var lines []string
	for name, value := range given {
		lines = append(lines, name+": "+value)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// headers is a setting that is written as a map of names to texts, or as lines.
func headers(group, name string, at func(*Policy) *string) policyField {
	k := headerLines()
	f := setting(group, name, k, at)
	lines := f.decode
	key := f.key
	f.decode = func(d *decoder, n *node, to *Overlay) {
		if n.kind != mapNode {
			lines(d, n, to)
			return
		}
		given, before := map[string]string{}, d.faults
		for _, e := range n.entries {
			d.enter(clip(e.key), e.key)
			canonical := textproto.CanonicalMIMEHeaderKey(e.key)
			_, twice := given[canonical]
			if v, ok := scalar(d, e.value, text("text", nil)); ok {
				given[canonical] = strings.TrimSpace(v)
				if fault := checkProbeHeader(canonical, given[canonical]); fault != nil {
					d.about(e.pos, fault.what, fault.hint)
				}
			}
			if twice {
				d.about(e.pos, "is given twice: case does not matter in names of headers", "take one of them out")
			}
			d.leave()
		}
		if d.faults == before {
			to.set(key, joinHeaders(given))
		}
	}
	return f
}

func checkRegexp(s string) *fault {
	if _, err := regexp.Compile(s); err != nil {
		return mustBe("a regular expression (RE2 syntax)", s, err.Error())
	}
	return nil
}

func checkProbeHost(s string) *fault {
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host = s[:i]
		if port, err := strconv.ParseUint(s[i+1:], 10, 16); err != nil || port == 0 {
			return mustBe("a host name, perhaps with a port", s, "")
		}
	}
	if bare, ok := strings.CutPrefix(host, "["); ok {
		if a, err := netip.ParseAddr(strings.TrimSuffix(bare, "]")); err == nil && a.Is6() && strings.HasSuffix(host, "]") {
			return nil
		}
	}
	return checkHost(host)
}

// probeMeanings are the keys that only some types of probes heed.
var probeMeanings = map[string][]string{
	"path": {"http"}, "method": {"http"}, "statuses": {"http"}, "body": {"http"}, "body_regexp": {"http"},
	"host": {"http", "grpc"}, "headers": {"http", "grpc"}, "scheme": {"http", "grpc"}, "server_name": {"http", "grpc"},
	"ca_file": {"http", "grpc"}, "insecure_skip_verify": {"http", "grpc"}, "grpc_service": {"grpc"},
}

// checkProbe tells of keys that mean nothing to the type that is given beside them.
func checkProbe(d *decoder, n *node, to *Overlay) {
	typ, _ := to.given["health_check.type"].(string)
	if typ == "" || n.get("type") == nil {
		return
	}
	for _, e := range n.entries {
		if types := probeMeanings[e.key]; types != nil && !slices.Contains(types, typ) {
			d.child(n, e.key, "has no meaning for a probe of type "+typ, "take it out, or use type "+orList(types))
		}
	}
}
