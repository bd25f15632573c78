package tlsload

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	maxFile = 1 << 20 // the greatest file that is read

	// settled is how much older than the reading a file must be for its attributes to vouch for its content: clocks of
	// file systems are coarse.
	settled = 2 * time.Second
	// reread is how long unchanged attributes are trusted at all.
	reread = 30 * time.Second
)

// contents are what a pair's two files held when they were read.
type contents struct {
	cert, key []byte
	err       error // why they could not be read; nil otherwise
	at        time.Time
	// certInfo and keyInfo are from before the reading, so that a change during it is noticed; nil if there was no file.
	certInfo, keyInfo fs.FileInfo
}

func (p Pair) read(now time.Time) *contents {
	c := &contents{at: now, certInfo: stat(p.CertFile), keyInfo: stat(p.KeyFile)}
	var certErr, keyErr error
	c.cert, certErr = readFile("certificate file", p.CertFile)
	c.key, keyErr = readFile("key file", p.KeyFile)
	c.err = errors.Join(certErr, keyErr)
	return c
}

// stale reports whether the files may hold something else by now.
func (c *contents) stale(p Pair, now time.Time) bool {
	return now.Sub(c.at) >= reread || c.fresh(c.certInfo) || c.fresh(c.keyInfo) || c.moved(p)
}

// moved reports whether the files were replaced since just before they were read.
func (c *contents) moved(p Pair) bool {
	return differ(c.certInfo, stat(p.CertFile)) || differ(c.keyInfo, stat(p.KeyFile))
}

// fresh reports whether a file was written so shortly before it was read that its attributes prove nothing.
func (c *contents) fresh(info fs.FileInfo) bool {
	return info != nil && c.at.Sub(info.ModTime()) < settled
}

// differ reports whether a file was replaced or written between two looks at it.
func differ(was, is fs.FileInfo) bool {
	if was == nil || is == nil {
		return was != is
	}
	return !os.SameFile(was, is) || was.Size() != is.Size() || !was.ModTime().Equal(is.ModTime())
}

// sum identifies the contents.
func (c *contents) sum() [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d %d %v\n", len(c.cert), len(c.key), c.err)
	h.Write(c.cert)
	h.Write(c.key)
	return [sha256.Size]byte(h.Sum(nil))
}

// stat returns nil where there is nothing to be had.
func stat(name string) fs.FileInfo {
	info, err := os.Stat(name)
	if err != nil {
		return nil
	}
	return info
}

func readFile(what, name string) ([]byte, error) {
	if name == "" {
		return nil, fmt.Errorf("no %s is given; a pair needs cert_file and key_file", what)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, explain(what, name, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, explain(what, name, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s %s is larger than %d KiB; is it the right file?", what, name, maxFile>>10)
	}
	return text, nil
}

func explain(what, name string, err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %s does not exist: %w", what, name, fs.ErrNotExist)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s %s must be readable for user id %d: %w", what, name, os.Geteuid(), fs.ErrPermission)
	case errors.As(err, &path):
		err = path.Err
	}
	return fmt.Errorf("%s %s cannot be read: %w", what, name, err)
}
