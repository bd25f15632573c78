package config

import (
	"net/netip"
	"time"
)

var listenerBlock = &block[Listener]{fields: []field[Listener]{
	value("port", integer(0, 65535), defaultListener(), func(l *Listener) *int { return &l.Port }).
		fixed().doc("TCP port; 0 takes a free one."),
	value("address", normal("IP address or host name", listenAddress), defaultListener(), func(l *Listener) *string { return &l.Address }).
		fixed().otherwise("all addresses").doc("Address of the machine to listen on."),
	tlsField(),
	sub("proxy_protocol", &block[ProxyProtocol]{fields: []field[ProxyProtocol]{
		values("from", network(), func(p *ProxyProtocol) *[]netip.Prefix { return &p.From }).
			doc("Networks of the proxies that begin each connection with such a header; from elsewhere none may come."),
	}}, func(l *Listener) *ProxyProtocol { return &l.ProxyProtocol }).
		fixed().doc("Client addresses told by a proxy in front, in the PROXY protocol, version 1 or 2. They count as where the connection comes from: for sessions, logs, limits and `X-Forwarded-For`."),
}}

// tlsDraft is a tls block while it is read: the pair of its own and the list are one list afterwards.
type tlsDraft struct {
	TLS
	pair Certificate
	more []Certificate
}

var tlsBlock = &block[tlsDraft]{fields: []field[tlsDraft]{
	value("enabled", boolean(), draft(), func(t *tlsDraft) *bool { return &t.Enabled }).
		fixed().otherwise("true if certificates are named, else false").doc("Whether the listener encrypts."),
	value("cert_file", text("file", checkFile), draft(), func(t *tlsDraft) *string { return &t.pair.CertFile }).
		otherwise("none").doc("PEM file of the certificate and those of its issuers. This pair is the default certificate."),
	value("key_file", text("file", checkFile), draft(), func(t *tlsDraft) *string { return &t.pair.KeyFile }).
		otherwise("none").doc("PEM file of its private key."),
	items("certificates", certificateBlock, func() Certificate { return Certificate{} }, func(to *tlsDraft) func(*decoder, *node, Certificate, bool) {
		to.more = nil
		return func(_ *decoder, _ *node, c Certificate, ok bool) {
			if ok {
				to.more = append(to.more, c)
			}
		}
	}).otherwise("none").doc("More pairs, chosen by the name that the client asks for (SNI)."),
	value("reload_interval", duration(100*time.Millisecond, false), draft(), func(t *tlsDraft) *time.Duration { return &t.ReloadInterval }).
		fixed().doc("How often the files are looked at for changes."),
	value("min_version", tlsVersion(), draft(), func(t *tlsDraft) *uint16 { return &t.MinVersion }).
		fixed().doc("The lowest version of TLS that is spoken."),
	value("max_version", tlsVersion(), draft(), func(t *tlsDraft) *uint16 { return &t.MaxVersion }).
		fixed().otherwise("the highest").doc("The highest version of TLS that is spoken."),
	values("cipher_suites", cipherSuite(), func(t *tlsDraft) *[]uint16 { return &t.CipherSuites }).
		fixed().otherwise("Go's choice").doc("Cipher suites allowed up to TLS 1.2, by their IANA names; those of TLS 1.3 are always allowed."),
}}

func draft() tlsDraft { return tlsDraft{TLS: defaultListener().TLS} }

func tlsField() field[Listener] {
	return field[Listener]{
		&info{name: "tls", typ: "block", sub: tlsBlock.infos(), about: "Encryption and certificates."},
		func(d *decoder, n *node, to *Listener) {
			t := tlsDraft{TLS: to.TLS}
			named := len(to.TLS.Certificates) > 0
			if named {
				t.pair, t.more = t.Certificates[0], t.Certificates[1:]
			}
			tlsBlock.decode(d, n, &t)
			t.Certificates = nil
			if t.pair != (Certificate{}) {
				t.Certificates = append(t.Certificates, t.pair)
			}
			t.Certificates = append(t.Certificates, t.more...)
			if !named && len(t.Certificates) > 0 && n.get("enabled") == nil {
				t.Enabled = true
			}
			to.TLS = t.TLS
		},
	}
}

// listenField is a listener or a list of them. The environment changes the first.
func listenField() field[Config] {
	return field[Config]{
		&info{name: "listen", typ: "block or list of blocks", sub: listenerBlock.infos(),
			about: "The addresses that clients connect to: one, or a list such as `[{port: 80}, {port: 443, tls: {…}}]`. `server` is another name of it."},
		func(d *decoder, n *node, to *Config) {
			switch n.kind {
			case nullNode:
			case scalarNode:
				d.about(n.pos, "must be a map or a list of maps, not "+n.kind.String(), "write {port: 8080}")
			case mapNode:
				l := defaultListener()
				if d.overlay {
					l = to.Listen[0]
				}
				listenerBlock.decode(d, n, &l)
				if d.overlay {
					to.Listen[0] = l
					return
				}
				to.Listen = []Listener{l}
			case listNode:
				if len(n.items) == 0 {
					d.about(n.pos, "names no address", "write [{port: 8080}]")
					return
				}
				to.Listen = nil
				d.list(n, func(item *node) {
					l, _ := one(d, item, listenerBlock, defaultListener())
					to.Listen = append(to.Listen, l)
				})
			}
		},
	}
}
