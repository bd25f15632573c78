package filewatch

import (
	"crypto/sha256"
	"io"
	"os"
)

// state is a file as it was found.
type state struct {
	info    os.FileInfo // nil if there is none
	missing bool
	// failure is why it could not be read; hash is of what it holds.
	failure string
	hash    [sha256.Size]byte
}

// content is what counts as a change when it differs.
type content struct {
	missing bool
	failure string
	hash    [sha256.Size]byte
}

func (s state) content() content { return content{s.missing, s.failure, s.hash} }

// sameAttributes reports whether both are the same file, of the same size and time.
func (s state) sameAttributes(o state) bool {
	if s.info == nil || o.info == nil {
		return s.info == nil && o.info == nil && s.missing == o.missing
	}
	return os.SameFile(s.info, o.info) && s.info.Size() == o.info.Size() && s.info.ModTime().Equal(o.info.ModTime()) &&
		s.info.Mode() == o.info.Mode()
}

// look reads a file.
func look(path string) state {
	s := attributes(path)
	s.read(path)
	return s
}

// attributes are what there is to know of a file without opening it.
func attributes(path string) state {
	info, err := os.Stat(path)
	if err != nil {
		return state{missing: os.IsNotExist(err), failure: failure(err)}
	}
	return state{info: info}
}

// read takes in what the file holds.
func (s *state) read(path string) {
	if s.info == nil {
		return
	}
	if !s.info.Mode().IsRegular() {
		s.failure = "not a regular file" // a pipe would block whoever opens it
		return
	}
	f, err := os.Open(path)
	if err == nil {
		h := sha256.New()
		_, err = io.Copy(h, f)
		_ = f.Close() // only read
		h.Sum(s.hash[:0])
	}
	if err != nil {
		s.missing, s.failure, s.hash = os.IsNotExist(err), failure(err), [sha256.Size]byte{}
	}
}

// failure is the reason of an error, without the path; empty for a file that does not exist.
func failure(err error) string {
	if os.IsNotExist(err) {
		return ""
	}
	if p, ok := err.(*os.PathError); ok {
		err = p.Err
	}
	return err.Error()
}
