package tlsload

import (
	"crypto/tls"
	"testing"
)

func TestTheCertificateIsChosenByExactNameThenWildcardThenTheFirst(t *testing.T) {
	first, exact, wild := issue(t, "first.example"), issue(t, "a.example.com", "b.example.com"), issue(t, "*.example.com", "example.com")
	s := newStore(t, Options{Pairs: []Pair{pairOf(t, first), pairOf(t, wild), pairOf(t, exact)}})
	for name, want := range map[string]made{
		"first.example":    first,
		"a.example.com":    exact,
		"b.example.com":    exact,
		"A.Example.COM":    exact,
		"c.example.com":    wild,
		"example.com":      wild,
		"x.a.example.com":  first,
		"unknown.example":  first,
		"com":              first,
		"*.example.com":    wild,
		"":                 first,
		"a.example.com.":   exact,
		".example.com":     first,
		"xn--bcher-kva.de": first,
	} {
		if name == ".example.com" || name == "a.example.com." || name == "*.example.com" {
			// Clients do not send these; a hostile one may.
			got, err := s.certificate(&tls.ClientHelloInfo{ServerName: name})
			if err != nil || name != ".example.com" && !got.Leaf.Equal(want.leaf) {
				t.Errorf("%q gets %v (%v)", name, got.Leaf.DNSNames, err)
			}
			continue
		}
		wantServed(t, s, name, want)
	}
}

func TestTheEarlierPairWinsANameThatTwoHave(t *testing.T) {
	a, b := issue(t, "web.example"), issue(t, "web.example", "other.example")
	s := newStore(t, Options{Pairs: []Pair{pairOf(t, a), pairOf(t, b)}})
	wantServed(t, s, "web.example", a)
	wantServed(t, s, "other.example", b)
}

func TestECDSAAndRSACertificatesOfOneNameAreChosenByWhatTheClientSupports(t *testing.T) {
	ec, old := issue(t, "web.example"), maker{rsa: true}.issue(t, "web.example")
	modern := &tls.Config{}
	ancient := &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}
	for order, pairs := range map[string][]Pair{
		"ECDSA first": {pairOf(t, ec), pairOf(t, old)},
		"RSA first":   {pairOf(t, old), pairOf(t, ec)},
	} {
		s := newStore(t, Options{Pairs: pairs})
		for _, name := range []string{"web.example", "unknown.example", ""} {
			for client, c := range map[*tls.Config]made{modern: ec, ancient: old} {
				client := client.Clone()
				client.ServerName = name
				st, err := handshake(t, s.Config(), client)
				if err != nil {
					t.Errorf("%s, %q: %v", order, name, err)
				} else if !st.PeerCertificates[0].Equal(c.leaf) {
					t.Errorf("%s: a client gets the %s certificate for %q, want the %s one", order,
						algorithm(st.PeerCertificates[0]), name, algorithm(c.leaf))
				}
			}
		}
	}
}

func TestACertificateWithoutAlternativeNamesAnswersForItsCommonName(t *testing.T) {
	first, cn := issue(t, "first.example"), issue(t)
	s := newStore(t, Options{Pairs: []Pair{pairOf(t, first), pairOf(t, cn)}})
	wantServed(t, s, "common.example", cn)
}

func TestChoosingDoesNotAllocate(t *testing.T) {
	s := newStore(t, Options{Pairs: []Pair{pairOf(t, issue(t, "first.example")), pairOf(t, issue(t, "*.example.com", "a.example"))}})
	for _, name := range []string{"", "first.example", "a.example", "x.example.com", "unknown.example.org"} {
		hello := &tls.ClientHelloInfo{ServerName: name}
		if n := testing.AllocsPerRun(100, func() { s.certificate(hello) }); n != 0 {
			t.Errorf("%q: %v allocations, want none", name, n)
		}
	}
}

func BenchmarkChoose(b *testing.B) {
	s := newStore(b, Options{Pairs: []Pair{pairOf(b, issue(b, "first.example")), pairOf(b, issue(b, "*.example.com"))}})
	hello := &tls.ClientHelloInfo{ServerName: "x.example.com"}
	b.ReportAllocs()
	for b.Loop() {
		s.certificate(hello)
	}
}
