package consul

import (
	"fmt"
	"maps"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/vietddude/load-balancer/discovery"
)

const (
	maxLabels = 200  // of one instance
	maxLabel  = 4096 // bytes of one label
	maxDepth  = 8    // dots in the key of a policy option
)

// labels are what the tags and the meta of one instance say.
type labels struct {
	// scheme is http or https, empty if nothing says so.
	scheme string
	// drain asks that nothing new goes to the instance.
	drain bool
	// share is the part of the service's traffic that Fabio's weight= asks for, 0 for none.
	share float64
	// routes have neither name nor service yet.
	routes []discovery.Route
	// policy holds the options of the service's policy by dotted key.
	policy map[string]label
	// wrong are the labels that were not taken, without Source and with the label alone as Key.
	wrong []discovery.Problem
}

// label is a policy option as it was announced.
type label struct {
	value string
	text  string // tag or meta, for messages
}

// parser gathers the labels of one instance. Its lists hold what routes are made of in the end.
type parser struct {
	labels
	hosts, paths, methods []string
	headers               map[string]string
	strip                 string
	schemeText            string // what set the scheme
}

// parseLabels reads the tags and the meta of an instance:
//
//	lb.host=api.example.com         and several of host, path and method make a route of each combination
//	lb.header.X-Canary=yes          belongs to each of these routes, as does lb.strip_prefix
//	lb.scheme=https
//	lb.drain=true                   and loadbalancer.drain=true
//	lb.health_check.path=/ready     anything else is an option of the policy
//	urlprefix-i.com/static strip=/static proto=https weight=0.1
//
// Keys of Consul's meta have no dots: lb-health_check-path stands for lb.health_check.path there. A label that makes
// no sense costs itself alone.
func parseLabels(tags []string, meta map[string]string) labels {
	p := parser{headers: map[string]string{}}
	p.policy = map[string]label{}
	n := 0
	take := func(text, key, value string, ok bool) {
		switch n++; {
		case n == maxLabels+1:
			p.reject(text, discovery.CodeTooLarge, fmt.Sprintf("an instance may have %d labels; this one and those after it are left out", maxLabels))
		case n > maxLabels:
		case len(text) > maxLabel:
			p.reject(text, discovery.CodeTooLarge, fmt.Sprintf("the label has %d bytes, at most %d are allowed", len(text), maxLabel))
		case !ok || key == "":
			p.reject(text, discovery.CodeBadOption, "want lb.KEY=VALUE")
		default:
			p.option(text, key, value)
		}
	}
	// In meta first, because of lb-scheme, which is stronger than proto=.
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		if rest, ok := cutPrefix(key, "lb-", "lb."); ok {
			take(key+"="+meta[key], dotted(rest), meta[key], true)
		} else if key == "loadbalancer-drain" || key == "loadbalancer.drain" {
			take(key+"="+meta[key], "drain", meta[key], true)
		}
	}
	for _, tag := range tags {
		tag = strings.TrimSpace(tag)
		if rest, ok := strings.CutPrefix(tag, "lb."); ok {
			key, value, ok := strings.Cut(rest, "=")
			take(tag, strings.TrimSpace(key), strings.TrimSpace(value), ok)
		} else if value, ok := strings.CutPrefix(tag, "loadbalancer.drain="); ok {
			take(tag, "drain", strings.TrimSpace(value), true)
		}
	}
	p.product()
	for _, tag := range tags {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(tag), "urlprefix-"); ok {
			if n++; n <= maxLabels && len(tag) <= maxLabel {
				p.fabio(tag, rest)
			} else if n == maxLabels+1 || len(tag) > maxLabel {
				p.reject(tag, discovery.CodeTooLarge, "too many or too long labels on one instance")
			}
		}
	}
	return p.labels
}

func cutPrefix(s string, prefixes ...string) (string, bool) {
	for _, prefix := range prefixes {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			return rest, true
		}
	}
	return s, false
}

// dotted turns the rest of a meta key into a tag's key. Header names keep their dashes.
func dotted(key string) string {
	if name, ok := cutPrefix(key, "header-", "header."); ok {
		return "header." + name
	}
	return strings.ReplaceAll(key, "-", ".")
}

// option takes one lb.* label.
func (p *parser) option(text, key, value string) {
	if name, ok := strings.CutPrefix(key, "header."); ok {
		name = textproto.CanonicalMIMEHeaderKey(name)
		if old, doubled := p.headers[name]; doubled && old != value {
			p.reject(text, discovery.CodeBadOption, fmt.Sprintf("the header is asked to be %q already", clip(old)))
			return
		}
		p.headers[name] = value
		return
	}
	switch key {
	case "host":
		p.hosts = appendNew(p.hosts, value)
	case "path":
		p.paths = appendNew(p.paths, value)
	case "method":
		p.methods = appendNew(p.methods, value)
	case "strip_prefix":
		if p.strip != "" && p.strip != value {
			p.reject(text, discovery.CodeBadOption, fmt.Sprintf("strip_prefix is %q already", clip(p.strip)))
			return
		}
		p.strip = value
	case "scheme":
		p.setScheme(text, value)
	case "drain":
		drain, err := strconv.ParseBool(value)
		if err != nil {
			p.reject(text, discovery.CodeBadOption, fmt.Sprintf("%q is neither true nor false", clip(value)))
		}
		p.drain = p.drain || drain
	default:
		p.policyOption(text, key, value)
	}
}

func (p *parser) policyOption(text, key, value string) {
	parts := strings.Split(key, ".")
	if len(parts) > maxDepth || slices.Contains(parts, "") {
		p.reject(text, discovery.CodeBadOption, "want lb.KEY=VALUE with a key like health_check.path")
		return
	}
	if old, ok := p.policy[key]; ok {
		if old.value != value {
			p.reject(text, discovery.CodeBadOption, fmt.Sprintf("%q on the same instance says otherwise", clip(old.text)))
		}
		return
	}
	p.policy[key] = label{value: value, text: text}
}

func (p *parser) setScheme(text, value string) {
	switch {
	case value != "http" && value != "https":
		p.reject(text, discovery.CodeBadOption, fmt.Sprintf("the scheme %q is not http or https", clip(value)))
	case p.scheme != "" && p.scheme != value:
		p.reject(text, discovery.CodeBadOption, fmt.Sprintf("%q on the same instance says otherwise", clip(p.schemeText)))
	default:
		p.scheme, p.schemeText = value, text
	}
}

// product makes a route of each combination of the hosts, paths and methods that lb.* labels name.
func (p *parser) product() {
	if len(p.hosts)+len(p.paths)+len(p.methods)+len(p.headers) == 0 {
		if p.strip != "" {
			p.reject("lb.strip_prefix="+p.strip, discovery.CodeBadOption, "there is no lb.host or lb.path to make a route of")
		}
		return
	}
	for _, host := range orEmpty(p.hosts) {
		for _, path := range orEmpty(p.paths) {
			for _, method := range orEmpty(p.methods) {
				r := discovery.Route{Host: host, Path: path, Method: method, StripPrefix: p.strip}
				if len(p.headers) > 0 {
					r.Headers = p.headers
				}
				if p.route(routeText(r), r); len(p.routes) == maxLabels {
					p.reject("lb routes", discovery.CodeTooLarge, fmt.Sprintf("an instance may have %d routes; the others are left out", maxLabels))
					return
				}
			}
		}
	}
}

// route takes a route if it can match anything.
func (p *parser) route(text string, r discovery.Route) bool {
	r, err := normalRoute(r)
	switch {
	case err != nil:
		p.reject(text, discovery.CodeBadRoute, err.Error())
	case len(p.routes) == maxLabels:
		p.reject(text, discovery.CodeTooLarge, fmt.Sprintf("an instance may have %d routes", maxLabels))
	default:
		p.routes = append(p.routes, r)
		return true
	}
	return false
}

func (p *parser) reject(text, code, detail string) {
	p.wrong = append(p.wrong, discovery.Problem{Key: clip(text), Code: code, Detail: detail})
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

func orEmpty(list []string) []string {
	if len(list) == 0 {
		return []string{""}
	}
	return list
}
