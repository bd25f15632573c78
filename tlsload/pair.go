package tlsload

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// decode makes a certificate of the contents of a pair's files. Its errors name the file and say what to do.
func (p Pair) decode(certPEM, keyPEM []byte) (*tls.Certificate, error) {
	chain, err := p.chain(certPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate file %s %w", p.CertFile, err)
	}
	key, err := p.key(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("key file %s %w", p.KeyFile, err)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(chain[0].PublicKey) {
		for _, c := range chain[1:] {
			if ok && public.Equal(c.PublicKey) {
				return nil, fmt.Errorf("certificate file %s has its certificates in the wrong order: that of %s must come first", p.CertFile, subject(c))
			}
		}
		return nil, fmt.Errorf("the key in %s does not belong to the certificate in %s (%s); install the two that were made together", p.KeyFile, p.CertFile, subject(chain[0]))
	}
	c := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, x := range chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c, nil
}

// chain reads the certificates of a file, at least one.
func (p Pair) chain(text []byte) ([]*x509.Certificate, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("is empty")
	}
	var chain []*x509.Certificate
	var others []string
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			others = append(others, block.Type)
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("has a certificate (number %d) that cannot be read: %w", len(chain)+1, err)
		}
		chain = append(chain, c)
	}
	if len(chain) > 0 {
		return chain, nil
	}
	return nil, notIn(text, others, "certificate", "PRIVATE KEY", "openssl x509 -inform der -in "+p.CertFile)
}

// key reads the first private key of a file.
func (p Pair) key(text []byte) (crypto.Signer, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("is empty")
	}
	var others []string
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, fmt.Errorf("is encrypted; write it without a passphrase: openssl pkey -in %s -out KEY.pem", p.KeyFile)
		case block.Type == "PRIVATE KEY", strings.HasSuffix(block.Type, " PRIVATE KEY"):
			return parseKey(block.Bytes)
		}
		others = append(others, block.Type)
	}
	return nil, notIn(text, others, "private key", "CERTIFICATE", "openssl pkey -inform der -in "+p.KeyFile)
}

// notIn says why a file has no block of the kind that was wanted. The text is what was left after its last block.
func notIn(text []byte, others []string, wanted, swapped, convert string) error {
	for _, o := range others {
		if strings.HasSuffix(o, swapped) {
			return fmt.Errorf("holds a %s, but no %s; are cert_file and key_file swapped?", strings.ToLower(o), wanted)
		}
	}
	switch {
	case len(others) > 0:
		return fmt.Errorf("holds no %s, only %q", wanted, others[0])
	case bytes.HasPrefix(text, []byte{0x30}):
		return fmt.Errorf("is not in PEM form; convert it: %s", convert)
	case bytes.Contains(text, []byte("-----BEGIN")):
		return fmt.Errorf("is damaged or cut short: its first PEM block does not end")
	}
	return fmt.Errorf("holds no %s in PEM form", wanted)
}

func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if s, ok := key.(crypto.Signer); ok {
			return s, nil
		}
		return nil, fmt.Errorf("holds a key of type %T, which cannot serve TLS; use ECDSA or RSA", key)
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParseECPrivateKey(der)
	if err != nil {
		return nil, errors.New("has a private key that cannot be read; use PKCS #8, PKCS #1 or SEC 1")
	}
	return key, nil
}

// names are the DNS names that a certificate answers for; the common name only where it has none.
func names(c *x509.Certificate) []string {
	if len(c.DNSNames) == 0 && len(c.IPAddresses) == 0 && c.Subject.CommonName != "" {
		return []string{c.Subject.CommonName}
	}
	return c.DNSNames
}

// subject is a certificate's name for people.
func subject(c *x509.Certificate) string {
	if n := names(c); len(n) > 0 {
		return n[0]
	}
	if len(c.IPAddresses) > 0 {
		return c.IPAddresses[0].String()
	}
	return "serial " + c.SerialNumber.String()
}

// algorithm is the kind of a certificate's key.
func algorithm(c *x509.Certificate) string {
	switch c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA"
	case *rsa.PublicKey:
		return "RSA"
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return c.PublicKeyAlgorithm.String()
}
