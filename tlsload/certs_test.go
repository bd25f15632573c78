package tlsload

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// made is a certificate made for a test, in the texts of its two files.
type made struct {
	cert, key []byte
	leaf      *x509.Certificate
}

type maker struct {
	rsa       bool
	notBefore time.Time
	notAfter  time.Time
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// issue makes a self-signed certificate with an ECDSA key for some names.
func issue(t testing.TB, names ...string) made { return maker{}.issue(t, names...) }

func (m maker) issue(t testing.TB, names ...string) made {
	t.Helper()
	var key crypto.Signer = rsaKey()
	if !m.rsa {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	if m.notBefore.IsZero() {
		m.notBefore = time.Now().Add(-time.Hour)
	}
	if m.notAfter.IsZero() {
		m.notAfter = time.Now().Add(time.Hour)
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetUint64(mathrand.Uint64()),
		Subject:      pkix.Name{CommonName: "common.example"},
		DNSNames:     names,
		NotBefore:    m.notBefore, NotAfter: m.notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return made{cert: block("CERTIFICATE", der), key: block("PRIVATE KEY", pkcs8), leaf: leaf}
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// pairOf writes a certificate into two files of the test's own.
func pairOf(t testing.TB, m made) Pair {
	t.Helper()
	dir := t.TempDir()
	p := Pair{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	write(t, p.CertFile, m.cert)
	write(t, p.KeyFile, m.key)
	return p
}

func write(t testing.TB, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// swap replaces a file in one step.
func swap(t testing.TB, name string, text []byte) {
	t.Helper()
	write(t, name+".new", text)
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func newStore(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// handshake makes a connection over a pipe and returns what the client saw.
func handshake(t testing.TB, server *tls.Config, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	a, b := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer b.Close()
		conn := tls.Server(b, server)
		if conn.Handshake() == nil {
			conn.Write([]byte("x")) // carries the session tickets of TLS 1.3 with it
			conn.Read(make([]byte, 1))
		}
	}()
	defer func() { <-ended }()
	defer a.Close()
	client = client.Clone()
	client.InsecureSkipVerify = true
	conn := tls.Client(a, client)
	if err := conn.Handshake(); err != nil {
		return tls.ConnectionState{}, err
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return tls.ConnectionState{}, err
	}
	return conn.ConnectionState(), nil
}

// served is the certificate that a client gets who asks for a name.
func served(t testing.TB, s *Store, name string) *x509.Certificate {
	t.Helper()
	st, err := handshake(t, s.Config(), &tls.Config{ServerName: name})
	if err != nil {
		t.Fatalf("%q: %v", name, err)
	}
	return st.PeerCertificates[0]
}

func wantServed(t testing.TB, s *Store, name string, want made) {
	t.Helper()
	if got := served(t, s, name); !got.Equal(want.leaf) {
		t.Errorf("%q is served the certificate of %v, want that of %v", name, got.DNSNames, want.leaf.DNSNames)
	}
}

func wantErr(t testing.TB, err error, wants ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", wants)
		return
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %q, want it to say %q", err, want)
		}
	}
}

// lines is a log to be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
