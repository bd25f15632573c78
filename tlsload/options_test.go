package tlsload

import (
	"crypto/tls"
	"slices"
	"testing"
)

func TestVersionsAreReadAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]uint16{
		"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13, "TLS1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13, "tls 1.2": tls.VersionTLS12,
		"tls12": tls.VersionTLS12, "VersionTLS13": tls.VersionTLS13, " TLS_1.3 ": tls.VersionTLS13,
	} {
		if v, err := ParseVersion(text); err != nil || v != want {
			t.Errorf("%q is %x (%v), want %x", text, v, err, want)
		}
	}
	for text, want := range map[string]string{
		"1.0": "not secure any more", "TLS1.1": "not secure any more", "": "use 1.2 or 1.3", "1.4": `unknown TLS version "1.4"`, "ssl3": "use 1.2 or 1.3", "13": "", "2.1": "unknown",
	} {
		if _, err := ParseVersion(text); want != "" {
			wantErr(t, err, want)
		}
	}
}

func TestAnUnknownCipherSuiteIsRefusedWithTheValidOnes(t *testing.T) {
	_, err := ParseCipherSuite("TLS_NULL")
	wantErr(t, err, `unknown cipher suite "TLS_NULL"`, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256")
	_, err = ParseCipherSuite("TLS_RSA_WITH_RC4_128_SHA")
	wantErr(t, err, "insecure", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")
	if id, err := ParseCipherSuite(" tls_aes_128_gcm_sha256"); err != nil || id != tls.TLS_AES_128_GCM_SHA256 {
		t.Errorf("%x, %v", id, err)
	}
}

func TestOptionsTakeEffectInHandshakes(t *testing.T) {
	pairs := []Pair{pairOf(t, issue(t, "web.example"))}
	for name, c := range map[string]struct {
		o       Options
		client  *tls.Config
		version uint16 // 0 for a refused handshake
		proto   string
	}{
		"defaults":      {Options{}, &tls.Config{}, tls.VersionTLS13, "h2"},
		"old client":    {Options{}, &tls.Config{MaxVersion: tls.VersionTLS12}, tls.VersionTLS12, "h2"},
		"older client":  {Options{}, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, 0, ""},
		"min 1.3":       {Options{MinVersion: "1.3"}, &tls.Config{MaxVersion: tls.VersionTLS12}, 0, ""},
		"max 1.2":       {Options{MaxVersion: "1.2"}, &tls.Config{}, tls.VersionTLS12, "h2"},
		"shared suite":  {Options{MaxVersion: "1.2", CipherSuites: []string{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}}, &tls.Config{}, tls.VersionTLS12, "http/1.1"},
		"foreign suite": {Options{MaxVersion: "1.2", CipherSuites: []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}}, &tls.Config{}, 0, ""},
		"suites and h2": {Options{CipherSuites: []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}}, &tls.Config{}, tls.VersionTLS13, "h2"},
	} {
		t.Run(name, func(t *testing.T) {
			c.o.Pairs = pairs
			client := c.client.Clone()
			client.NextProtos = []string{"h2", "http/1.1"}
			st, err := handshake(t, newStore(t, c.o).Config(), client)
			switch {
			case c.version == 0 && err == nil:
				t.Error("the handshake succeeded")
			case c.version != 0 && (err != nil || st.Version != c.version || st.NegotiatedProtocol != c.proto):
				t.Errorf("%s with %s (%v), want %s with %s", tls.VersionName(st.Version), st.NegotiatedProtocol, err, tls.VersionName(c.version), c.proto)
			}
		})
	}
}

func TestHTTP2IsNotOfferedWithoutTheSuitesItNeeds(t *testing.T) {
	var log lines
	s := newStore(t, Options{Pairs: []Pair{pairOf(t, issue(t, "a"))}, CipherSuites: []string{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}, Logger: log.logger()})
	if p := s.Config().NextProtos; !slices.Equal(p, []string{"http/1.1"}) || log.count("HTTP/2 is off") != 1 {
		t.Errorf("offers %v", p)
	}
}

func TestNewTellsOfAllThatIsWrong(t *testing.T) {
	_, err := New(Options{
		MinVersion: "1.3", MaxVersion: "1.2",
		Pairs: []Pair{{CertFile: "/nowhere/a.pem", KeyFile: "/nowhere/a.key"}, {CertFile: "/nowhere/b.pem"}},
	})
	wantErr(t, err, "max_version 1.2 is below min_version TLS 1.3", "certificate file /nowhere/a.pem does not exist",
		"key file /nowhere/a.key does not exist", "/nowhere/b.pem", "no key file is given")
	_, err = New(Options{})
	wantErr(t, err, "no certificate is given; TLS needs cert_file and key_file")
	for want, o := range map[string]Options{
		"min_version":   {MinVersion: "0.9"},
		"max_version":   {MaxVersion: "x"},
		"cipher_suites": {CipherSuites: []string{"x"}},
	} {
		_, err = New(o)
		wantErr(t, err, want)
	}
}
