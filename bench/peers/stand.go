//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/vietddude/load-balancer/discovery/embedded"
)

const (
	backends    = 2
	etcdPrefix  = "/bench"
	etcdTimeout = 30 * time.Second
)

// stand is what all measurements of a mode share: the backends, the etcd that they are announced in, a certificate.
type stand struct {
	dir      string
	backends []string
	etcd     *embedded.Server
	helper   *helper
	cert     certificate
}

// newStand sets it up on the CPUs of the load generator.
func newStand(ctx context.Context, dir string, on cpus) (s *stand, err error) {
	s = &stand{dir: dir}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.cert, err = newCertificate(dir); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if s.helper, err = startHelper(roleBackend, on, dir); err != nil {
		return nil, err
	}
	if _, err = fmt.Fprintln(s.helper.in, backends); err != nil {
		return nil, err
	}
	if err = s.helper.result(&s.backends, helperTimeout); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	if s.etcd, err = embedded.Start(ctx, embedded.Options{}); err != nil {
		return nil, err
	}
	return s, s.announce(ctx)
}

// announce registers the backends.
func (s *stand) announce(ctx context.Context) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{s.etcd.Endpoint()}, Logger: zap.NewNop(), Context: ctx})
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer client.Close()
	for i, addr := range s.backends {
		key := fmt.Sprintf("%s/services/bench/backend%d", etcdPrefix, i)
		if _, err := client.Put(ctx, key, "http://"+addr); err != nil {
			return fmt.Errorf("etcd: %w", err)
		}
	}
	return nil
}

// discovery is the URL of where the backends are announced.
func (s *stand) discovery() string {
	return "etcd://" + s.etcd.Endpoint()[len("http://"):] + etcdPrefix
}

func (s *stand) close() {
	if s.etcd != nil {
		s.etcd.Close()
	}
	if s.helper != nil {
		s.helper.stop()
	}
}

// certificate is a self-signed one of ECDSA P-256.
type certificate struct {
	cert, key, pair string // files
}

func newCertificate(dir string) (certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return certificate{}, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return certificate{}, err
	}
	c := certificate{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "pair.pem")}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	return c, errors.Join(
		os.WriteFile(c.cert, public, 0o600),
		os.WriteFile(c.key, private, 0o600),
		os.WriteFile(c.pair, append(public, private...), 0o600),
	)
}
