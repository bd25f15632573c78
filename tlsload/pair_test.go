package tlsload

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
)

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestPairsThatCannotBeServedAreRefusedWithFileAndRemedy(t *testing.T) {
	a, b := issue(t, "a.example"), issue(t, "b.example")
	der := func(text []byte) []byte { p, _ := pem.Decode(text); return p.Bytes }
	legacy := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte{1}})
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	exchange, err := x509.MarshalPKCS8PrivateKey(x25519)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cert, key []byte
		wants     []string
	}{
		"mismatch":            {a.cert, b.key, []string{"the key in KEY does not belong to the certificate in CERT (a.example)", "made together"}},
		"other kind of key":   {a.cert, maker{rsa: true}.issue(t).key, []string{"the key in KEY does not belong"}},
		"wrong order":         {join(b.cert, a.cert), a.key, []string{"CERT has its certificates in the wrong order", "a.example must come first"}},
		"empty certificate":   {nil, a.key, []string{"certificate file CERT is empty"}},
		"blank key":           {a.cert, []byte(" \n"), []string{"key file KEY is empty"}},
		"swapped":             {a.key, a.cert, []string{"CERT holds a private key, but no certificate", "swapped?"}},
		"certificate as key":  {a.cert, a.cert, []string{"KEY holds a certificate, but no private key", "swapped?"}},
		"encrypted":           {a.cert, block("ENCRYPTED PRIVATE KEY", []byte{1}), []string{"KEY is encrypted", "openssl pkey -in KEY"}},
		"encrypted, old form": {a.cert, legacy, []string{"KEY is encrypted"}},
		"der certificate":     {der(a.cert), a.key, []string{"CERT is not in PEM form", "openssl x509 -inform der -in CERT"}},
		"der key":             {a.cert, der(a.key), []string{"KEY is not in PEM form", "openssl pkey -inform der -in KEY"}},
		"noise":               {[]byte("hello"), a.key, []string{"CERT holds no certificate in PEM form"}},
		"half a certificate":  {a.cert[:len(a.cert)/2], a.key, []string{"CERT is damaged or cut short"}},
		"half a key":          {a.cert, a.key[:len(a.key)/2], []string{"KEY is damaged or cut short"}},
		"bad certificate":     {block("CERTIFICATE", []byte{0x30, 0}), a.key, []string{"CERT has a certificate (number 1) that cannot be read"}},
		"bad intermediate":    {join(a.cert, block("CERTIFICATE", nil)), a.key, []string{"(number 2)"}},
		"bad key":             {a.cert, block("PRIVATE KEY", []byte{0x30, 0}), []string{"KEY has a private key that cannot be read"}},
		"key that cannot":     {a.cert, block("PRIVATE KEY", exchange), []string{"cannot serve TLS"}},
		"other block":         {block("DH PARAMETERS", nil), a.key, []string{`CERT holds no certificate, only "DH PARAMETERS"`}},
	} {
		t.Run(name, func(t *testing.T) {
			cert, err := Pair{CertFile: "CERT", KeyFile: "KEY"}.decode(c.cert, c.key)
			wantErr(t, err, c.wants...)
			if cert != nil {
				t.Error("a certificate came with the error")
			}
		})
	}
}

func TestKeysOfAllCommonFormsAndChainsAreLoaded(t *testing.T) {
	ec, old := issue(t, "a.example"), maker{rsa: true}.issue(t, "a.example")
	key, err := parseKey(func() []byte { p, _ := pem.Decode(ec.key); return p.Bytes }())
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	params := block("EC PARAMETERS", []byte{6, 8})
	for name, c := range map[string]struct {
		cert, key []byte
		chain     int
	}{
		"pkcs 8":              {ec.cert, ec.key, 1},
		"sec 1":               {ec.cert, join(params, block("EC PRIVATE KEY", sec1)), 1},
		"pkcs 1":              {old.cert, block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey())), 1},
		"chain":               {join(ec.cert, old.cert), ec.key, 2},
		"all in one file":     {join(ec.key, ec.cert), join(ec.key, ec.cert), 1},
		"texts between":       {join([]byte("subject=a\n"), ec.cert, []byte("\nissuer=b\n"), old.cert), ec.key, 2},
		"windows line breaks": {[]byte(strings.ReplaceAll(string(ec.cert), "\n", "\r\n")), ec.key, 1},
	} {
		cert, err := Pair{}.decode(c.cert, c.key)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if len(cert.Certificate) != c.chain || cert.Leaf == nil {
			t.Errorf("%s: a chain of %d, want %d", name, len(cert.Certificate), c.chain)
		}
	}
}

func TestTheKindOfAKeyIsNamed(t *testing.T) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]*x509.Certificate{
		"ECDSA": issue(t).leaf, "RSA": maker{rsa: true}.issue(t).leaf, "Ed25519": {PublicKey: public},
	} {
		if got := algorithm(c); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// FuzzDecode feeds files of anything: a certificate comes out with a leaf and a key, or an error of one line.
func FuzzDecode(f *testing.F) {
	a, b := issue(f, "a.example"), issue(f, "b.example")
	for _, s := range [][2][]byte{
		{a.cert, a.key}, {a.cert, b.key}, {join(a.cert, b.cert), a.key}, {nil, nil}, {a.key, a.cert}, {a.cert[:100], a.key[:50]},
		{[]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"), block("ENCRYPTED PRIVATE KEY", nil)}, {{0x30}, {0x30}},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		c, err := Pair{CertFile: "CERT", KeyFile: "KEY"}.decode(cert, key)
		switch {
		case err == nil && (c.Leaf == nil || c.PrivateKey == nil || len(c.Certificate) == 0):
			t.Error("an incomplete certificate")
		case err != nil && (c != nil || err.Error() == ""):
			t.Errorf("%v with %q", c, err)
		case err == nil:
			newChoice([]*tls.Certificate{c, c})
		}
	})
}
