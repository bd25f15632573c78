package proxy

import (
	"github.com/vietddude/load-balancer/proxy/http1"
	"github.com/vietddude/load-balancer/routing"
)

// fieldName is the canonical name of a field that every exchange asks for, and what http1 knows it as: looked up once,
// not dozens of times per exchange.
type fieldName struct {
	text  string
	known http1.Name
}

func knownAs(text string) fieldName { return fieldName{text, nameOf(text)} }

func allNamed(texts ...string) []fieldName {
	var all []fieldName
	for _, t := range texts {
		all = append(all, knownAs(t))
	}
	return all
}

var (
	connectionName     = knownAs("Connection")
	upgradeName        = knownAs("Upgrade")
	teName             = knownAs("Te")
	http2SettingsName  = knownAs("Http2-Settings")
	cookieName         = knownAs("Cookie")
	contentLengthName  = knownAs("Content-Length")
	forwardedName      = knownAs("Forwarded")
	forwardedForName   = knownAs("X-Forwarded-For")
	forwardedProtoName = knownAs("X-Forwarded-Proto")
	forwardedHostName  = knownAs("X-Forwarded-Host")
)

// in returns the values of the header's fields of that name.
func (n *fieldName) in(h routing.Header) []string {
	if w, ok := h.(*wireFields); ok {
		return w.valuesOf(n)
	}
	return h.Values(n.text)
}

// dropFrom removes the header's fields of that name.
func (n *fieldName) dropFrom(h fields) {
	if w, ok := h.(*wireFields); ok {
		w.drop(n)
		return
	}
	h.Del(n.text)
}

// put replaces the header's fields of that name by one.
func (n *fieldName) put(h fields, value string) {
	if w, ok := h.(*wireFields); ok {
		w.drop(n)
		w.added = append(w.added, wireField{n.text, value})
		return
	}
	h.Set(n.text, value)
}
