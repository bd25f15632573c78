package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guard lets requests through that may: with the token if there is one, else addressed to this machine; and no change
// that another origin's page asked for.
func (a *api) guard(next http.Handler) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case a.Token != "" && !a.authorized(r):
			w.Header().Set("WWW-Authenticate", `Basic realm="loadbalancer admin", charset="UTF-8"`)
			fail(w, http.StatusUnauthorized, "the admin token is wanted: send Authorization: Bearer TOKEN, or the token as basic authentication's password")
		case a.Token == "" && !directHost(r.Host):
			fail(w, http.StatusForbidden, "without a token the admin answers requests to an IP address or localhost only, not to "+clip(r.Host)+"; set admin.token, or use http://127.0.0.1")
		case crossOrigin.Check(r) != nil:
			fail(w, http.StatusForbidden, "changes from another origin's page are refused")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// open reports whether a request to an unguarded path may learn details.
func (a *api) open(r *http.Request) bool {
	if a.Token != "" {
		return a.authorized(r)
	}
	return directHost(r.Host)
}

// authorized reports whether the request carries the token. It takes the same time for all that carry a wrong one.
func (a *api) authorized(r *http.Request) bool {
	given, ok := "", false
	if scheme, rest, found := strings.Cut(r.Header.Get("Authorization"), " "); found && strings.EqualFold(scheme, "Bearer") {
		given, ok = strings.TrimSpace(rest), true
	} else {
		_, given, ok = r.BasicAuth()
	}
	want, got := sha256.Sum256([]byte(a.Token)), sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && ok
}

// directHost reports whether a Host header names an IP address or localhost. A page of another site, whose name was
// made to resolve to this machine, has its browser send that name.
func directHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if loopback(host) {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}
