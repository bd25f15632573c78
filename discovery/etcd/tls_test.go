package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vietddude/load-balancer/discovery/discoverytest"
	"github.com/vietddude/load-balancer/discovery/embedded"
	"github.com/vietddude/load-balancer/internal/faultnet"
)

// authority issues certificates into files.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{dir: t.TempDir()}
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key, a.file, _ = a.issue(t, "ca", template)
	return a
}

// issue writes a certificate for 127.0.0.1, signed by the authority or, for its own, by itself.
func (a *authority) issue(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, string, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	write(t, certFile, "CERTIFICATE", der)
	write(t, keyFile, "PRIVATE KEY", keyDER)
	return cert, key, certFile, keyFile
}

func (a *authority) pair(t *testing.T, name string) (cert, key string) {
	_, _, cert, key = a.issue(t, name, &x509.Certificate{
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		KeyUsage:    x509.KeyUsageDigitalSignature,
	})
	return cert, key
}

func write(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// secureStore runs a server that wants clients' certificates and returns URLs of it: right, with another's authority,
// without a pair, and clear.
func secureStore(t *testing.T) (s *store, right, wrongCA, noPair, clear string) {
	t.Helper()
	ca, other := newAuthority(t), newAuthority(t)
	cert, key := ca.pair(t, "server")
	clientCert, clientKey := ca.pair(t, "client")
	server, err := embedded.Start(t.Context(), embedded.Options{TLS: embedded.TLS{CertFile: cert, KeyFile: key, ClientCAFile: ca.file}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	s = &store{server: server, ctx: t.Context()}
	s.net, err = faultnet.New(s.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.net.Close)
	base := "etcd://" + s.net.Addr()
	pair := "&cert=" + clientCert + "&key=" + clientKey
	right = base + "?ca=" + ca.file + pair
	o, err := ParseURL(right, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Client = s.connect(t, clientv3.Config{TLS: o.TLS})
	return s, right, base + "?ca=" + other.file + pair, base + "?ca=" + ca.file, base
}

// run starts the source of a URL.
func runURL(t *testing.T, url string) *discoverytest.Recorder {
	t.Helper()
	o, err := ParseURL(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	o.DialTimeout = 2 * time.Second
	src, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	rec := discoverytest.NewRecorder(t)
	discoverytest.Start(t, src, rec)
	return rec
}

func TestTLSWithAClientsCertificate(t *testing.T) {
	s, right, _, _, _ := secureStore(t)
	rec := runURL(t, right)
	s.put(t, key("web", "a"), "10.0.0.1:80")
	rec.Await(s.ctx, func(s discoverytest.State) bool { return len(s.URLs("web")) == 1 })
}

func TestTLSThatDoesNotMatchIsToldAsSuch(t *testing.T) {
	_, _, wrongCA, noPair, clear := secureStore(t)
	for name, c := range map[string]struct{ url, want string }{
		"another authority": {wrongCA, "check the authority"},
		"no client pair":    {noPair, "certificate"},
		"no TLS":            {clear, "https"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			runURL(t, c.url).Await(ctx, func(s discoverytest.State) bool {
				return s.Err != nil && strings.Contains(s.Err.Error(), c.want)
			})
		})
	}
}

func TestAClientsRenewedPairIsUsedAndABadOneLeavesTheLast(t *testing.T) {
	ca := newAuthority(t)
	cert, keyFile := ca.pair(t, "client")
	p := &pair{cert: cert, key: keyFile}
	first, err := p.load(nil)
	if err != nil {
		t.Fatal(err)
	}
	ca.pair(t, "client")
	second, err := p.load(nil)
	if err != nil || string(second.Certificate[0]) == string(first.Certificate[0]) {
		t.Errorf("the old pair is used still (%v)", err)
	}
	if err := os.WriteFile(cert, []byte("cut sh"), 0o600); err != nil {
		t.Fatal(err)
	}
	if third, err := p.load(nil); err != nil || third != second {
		t.Errorf("got %v, %v; want the last good pair", third, err)
	}
}
