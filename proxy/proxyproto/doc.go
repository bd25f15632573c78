// Package proxyproto reads and writes the header by which a proxy tells the next one whom a TCP connection comes from:
// the PROXY protocol of HAProxy, versions 1 (a line of text) and 2 (binary).
//
// A header is believed whole, so it must come only from proxies that are known; who they are is the caller's to say.
// [Read] takes exactly the header's bytes off the connection, so that TLS or HTTP can be read behind it, and no more than
// [MaxLen]. It is strict: what is not a header to the last byte is refused, and the connection is of no use then. How long
// to wait is the caller's deadline.
package proxyproto
