package affinity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"
)

const (
	nonceSize  = 12
	expirySize = 8
	tagSize    = 16
	// maxID is the greatest length of a backend's ID that is sealed; longer ones have no session.
	maxID = 255
	// maxSealed is the greatest length of a sealed value before base64.
	maxSealed = nonceSize + expirySize + len(key{}) + 1 + maxID + maxID + tagSize
	// hasID and hasHome say in the expiry's first byte, which no time needs, that the optional parts are there.
	hasID, hasHome = 1, 2
)

// sealed is what a cookie holds.
type sealed struct {
	backend string
	home    string // the backend to return to; empty for none
	id      key    // of the session in a shared store; zero for none
	expires time.Time
}

var encoding = base64.RawURLEncoding.Strict()

// sealer seals the sessions of one service, in base64url: nonce | AES-256-GCM(what is there: 1 byte | expiry in Unix
// milliseconds: 7 bytes | identifier: 16 bytes, optional | length and ID of the backend to return to, optional | backend
// ID) | tag.
// The nonce is random; the key is the service's own, so that even the busiest service stays far below the 2^32 values
// that random nonces allow for (NIST SP 800-38D, 8.3) over the hours that a session lasts.
type sealer struct {
	aead cipher.AEAD
	// context is authenticated with each value: what it is and for which service.
	context []byte
}

func newSealer(secret []byte, service string) (*sealer, error) {
	context := "loadbalancer session v1\x00" + service
	key, err := hkdf.Key(sha256.New, secret, nil, context, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving the session key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("deriving the session key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("deriving the session key: %w", err)
	}
	return &sealer{aead: aead, context: []byte(context)}, nil
}

// sealers are those of all secrets in force: the newest seals, all open.
type sealers struct {
	newest *sealer
	older  []*sealer
}

// newSealers derives the keys of a service. There is at least one secret.
func newSealers(secrets [][]byte, service string) *sealers {
	all := make([]*sealer, len(secrets))
	for i, secret := range secrets {
		var err error
		if all[i], err = newSealer(secret, service); err != nil {
			panic(err) // the lengths of key and hash are constants that fit
		}
	}
	return &sealers{newest: all[0], older: all[1:]}
}

// open is [sealer.open], under whichever secret it was sealed; old says that it was not the newest.
func (s *sealers) open(buf *[maxSealed]byte, value string) (c sealed, old, ok bool) {
	if c, ok = s.newest.open(buf, value); ok {
		return c, false, true
	}
	for _, o := range s.older {
		if c, ok = o.open(buf, value); ok {
			return c, true, true
		}
	}
	return sealed{}, false, false
}

// appendSealed appends the sealed session to dst.
func (s *sealer) appendSealed(dst []byte, c sealed) []byte {
	var buf [maxSealed]byte
	nonce := buf[:nonceSize]
	rand.Read(nonce) // never fails
	plain := binary.BigEndian.AppendUint64(buf[:nonceSize], uint64(c.expires.UnixMilli()))
	if c.id != (key{}) {
		plain[nonceSize] |= hasID
		plain = append(plain, c.id[:]...)
	}
	if c.home != "" {
		plain[nonceSize] |= hasHome
		plain = append(append(plain, byte(len(c.home))), c.home...)
	}
	plain = append(plain, c.backend...)[nonceSize:]
	text := s.aead.Seal(buf[:nonceSize], nonce, plain, s.context)
	return encoding.AppendEncode(dst, text)
}

// open reads a sealed session into buf, of which its texts are parts. It does not look at the expiry.
func (s *sealer) open(buf *[maxSealed]byte, value string) (c sealed, ok bool) {
	if n := encoding.DecodedLen(len(value)); n <= nonceSize+expirySize+tagSize || n > maxSealed {
		return c, false
	}
	n, err := encoding.Decode(buf[:], bytesOf(value))
	if err != nil {
		return c, false
	}
	text := buf[nonceSize:n]
	plain, err := s.aead.Open(text[:0], buf[:nonceSize], text, s.context)
	if err != nil || len(plain) < expirySize {
		return c, false
	}
	has := plain[0]
	plain[0] = 0
	c.expires = time.UnixMilli(int64(binary.BigEndian.Uint64(plain)))
	plain = plain[expirySize:]
	if has&hasID != 0 {
		if len(plain) < len(c.id) {
			return c, false
		}
		plain = plain[copy(c.id[:], plain):]
	}
	if has&hasHome != 0 {
		if len(plain) == 0 || len(plain) < 1+int(plain[0]) {
			return c, false
		}
		end := 1 + int(plain[0])
		c.home, plain = stringOf(plain[1:end]), plain[end:]
	}
	c.backend = stringOf(plain)
	return c, len(plain) > 0
}
