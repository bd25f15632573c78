package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/vietddude/load-balancer/routing"
)

// maxFile bounds what is read: some hundred times what a hundred thousand backends take.
const maxFile = 1 << 30

// load reads the file. One that is not there is no error and found is false. One that is not a whole snapshot of this
// version is set aside, and the error says where to.
func load(path string) (st routing.State, at time.Time, found bool, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return st, at, false, nil
	case err != nil:
		return st, at, false, err
	case !info.Mode().IsRegular():
		return st, at, false, fmt.Errorf("%s is no file", path)
	}
	err = fmt.Errorf("the file has %d bytes, at most %d are read", info.Size(), maxFile)
	if info.Size() <= maxFile {
		var text []byte
		if text, err = os.ReadFile(path); err != nil {
			return st, at, false, err
		}
		st, at, err = decode(text)
	}
	if err == nil {
		return st, at, true, nil
	}
	aside := path + ".corrupt-" + time.Now().UTC().Format("20060102T150405.000")
	if moved := os.Rename(path, aside); moved != nil {
		return st, at, false, fmt.Errorf("%w; it cannot be set aside: %w", err, moved)
	}
	return st, at, false, &CorruptError{Aside: aside, Err: err}
}

// CorruptError says that a file was not loaded and set aside.
type CorruptError struct {
	// Aside is what the file is called now.
	Aside string
	// Err is what is wrong with it.
	Err error
}

// Error implements error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v; it is set aside as %s", e.Err, e.Aside)
}

// Unwrap returns what is wrong.
func (e *CorruptError) Unwrap() error { return e.Err }

// save replaces the file by a text, on disk, or leaves it as it was.
func save(path string, text []byte) (err error) {
	temp := tempName(path)
	// Whatever lies there is of a process of this number that is gone. What is made anew follows no link.
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(temp, path); err != nil {
		return err
	}
	syncFolder(filepath.Dir(path))
	return nil
}

const tempInfix = ".new-"

// tempName is what the file is called while it is written; other processes' have other names.
func tempName(path string) string { return path + tempInfix + strconv.Itoa(os.Getpid()) }

// sweep removes what processes left that died while they wrote.
func sweep(path string) {
	left, err := filepath.Glob(escape(path) + tempInfix + "*")
	if err != nil {
		return
	}
	for _, name := range left {
		_ = os.Remove(name)
	}
}

// escape takes a path literally in a pattern.
func escape(path string) string {
	var out []byte
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '*', '?', '[', '\\':
			out = append(out, '\\')
		}
		out = append(out, path[i])
	}
	return string(out)
}

// syncFolder has a rename last, where the system can flush folders.
func syncFolder(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
