package proxy

import "crypto/tls"

// testTLS has a test server speak TLS with a certificate of its own.
func testTLS() *tls.Config { return &tls.Config{} }
