// Package tlsload loads server certificates, chooses among them by the name that a client asks for, and reloads them
// when their files change.
//
// A [Store] holds pairs of a certificate file and a key file. The certificate for a handshake is, in this order, one
// that has the client's server name among its DNS names, one with a wildcard that covers it ("*.example.com" covers
// "a.example.com", not "example.com" nor "a.b.example.com"), or that of the first pair. Where several fit, such as an
// ECDSA and an RSA certificate of the same name, it is the first that the client supports, ECDSA before RSA.
//
// [Store.Run] looks at the files twice a second and reloads what has changed; only their content counts. A pair that
// cannot be served (half a file, a key that does not belong to its certificate) is refused with its reason, and the one
// that was loaded before stays, until the files change again: certificate and key may be replaced one after the other,
// in any order. Connections, and clients that resume sessions, notice nothing. An expired certificate is served, since
// refusing it would help nobody, but told as a problem.
package tlsload
