//go:build linux

package load

import (
	"crypto/tls"
	"fmt"
	"strings"
)

// headers make requests the size that a browser's simple ones have.
const headers = "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
	"Accept: text/html,application/xhtml+xml\r\n" +
	"Accept-Language: en-US\r\n"

// head returns a request's head with further fields, each ended by CR LF.
func (s Spec) head(fields string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n%s", s.Method, s.Path, s.Addr, headers)
	if s.Body > 0 {
		fmt.Fprintf(&b, "Content-Type: application/octet-stream\r\nContent-Length: %d\r\n", s.Body)
	}
	b.WriteString(fields + "\r\n")
	return []byte(b.String())
}

// TLSConfig is what every client offers, so that every proxy does the same work whatever library it is built on: no
// resumption, and X25519 alone, since Go would prefer a hybrid that older libraries do not have.
func TLSConfig() *tls.Config {
	return &tls.Config{
		InsecureSkipVerify:     true, // the certificate is made for the run and signed by nobody
		CurvePreferences:       []tls.CurveID{tls.X25519},
		SessionTicketsDisabled: true,
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"http/1.1"},
	}
}
