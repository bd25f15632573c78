package programs

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The wall clock of a program can be set without that of the machine: Go's package time has one place where it reads it,
// which go build -overlay replaces by one that adds what stands in a file.
const (
	clockSource = "\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {"
	clockPatch  = "\tsec, nsec, mono := runtimeNow()\n\tsec += wallShift()\n\tif mono == 0 {"
	shiftFile   = `package time

import (
	"syscall"
	"unsafe"
)

// shift is how many seconds the wall clock is set forward: what stands in the file that LBTEST_CLOCK names.
var shift *int64

func init() {
	path, ok := syscall.Getenv("LBTEST_CLOCK")
	if !ok {
		return
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("LBTEST_CLOCK: " + err.Error())
	}
	mem, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("LBTEST_CLOCK: " + err.Error())
	}
	shift = (*int64)(unsafe.Pointer(&mem[0]))
}

func wallShift() int64 {
	if shift == nil {
		return 0
	}
	return *shift
}
`
)

// Clocked builds a package of this tree as [Ours] does, with a wall clock that a [Clock] sets. All of its packages have to
// be compiled for it, which takes minutes the first time: with onlyCached that must have been done.
func Clocked(pkg string, onlyCached bool) Builder {
	return func(ctx context.Context) (string, error) {
		overlay, built, err := clockOverlay(ctx)
		if err != nil {
			return "", err
		}
		_, err = os.Stat(built)
		if onlyCached && err != nil {
			return "", fmt.Errorf("a balancer whose clock can be set: %w: it is built by 'make servers'", ErrUnavailable)
		}
		out, err := build(ctx, pkg, "clocked-"+filepath.Base(pkg), "-overlay="+overlay)
		if err != nil {
			return "", err
		}
		return out, os.WriteFile(built, nil, 0o600)
	}
}

// clockOverlay writes what replaces the clock of this Go, and names the file that says that something was built with it.
func clockOverlay(ctx context.Context) (overlay, built string, err error) {
	root, err := Root()
	if err != nil {
		return "", "", err
	}
	cmd := exec.CommandContext(ctx, "go", "env", "GOROOT", "GOVERSION")
	cmd.Dir = root
	text, err := cmd.Output()
	if err != nil {
		return "", "", fmt.Errorf("go env: %w", err)
	}
	goroot, version, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	source := filepath.Join(goroot, "src", "time", "time.go")
	now, err := os.ReadFile(source)
	if err != nil {
		return "", "", err
	}
	if strings.Count(string(now), clockSource) != 1 {
		return "", "", fmt.Errorf("a balancer whose clock can be set: %w: %s reads the clock in another way", ErrUnavailable, version)
	}
	dir := filepath.Join(root, ".cache", "clock-"+version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", "", err
	}
	replaced := map[string]string{
		source: filepath.Join(dir, "time.go"),
		filepath.Join(goroot, "src", "time", "shift_lbtest.go"): filepath.Join(dir, "shift.go"),
	}
	list, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", "", err
	}
	for name, content := range map[string]string{
		"time.go": strings.Replace(string(now), clockSource, clockPatch, 1), "shift.go": shiftFile, "overlay.json": string(list),
	} {
		if err := replaceFile(filepath.Join(dir, name), content); err != nil {
			return "", "", err
		}
	}
	return filepath.Join(dir, "overlay.json"), filepath.Join(dir, "built"), nil
}

// replaceFile writes a file that others may be reading.
func replaceFile(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(content)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Clock is the wall clock of programs that [Clocked] has built.
type Clock struct{ file *os.File }

// NewClock returns a clock that is right, kept in a file.
func NewClock(path string) (*Clock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	c := &Clock{f}
	return c, c.Set(0)
}

// Env is what a program needs in its environment to have this clock.
func (c *Clock) Env() string { return "LBTEST_CLOCK=" + c.file.Name() }

// Set has the clock differ from the machine's by so many seconds from now on.
func (c *Clock) Set(seconds int64) error {
	_, err := c.file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(seconds)), 0)
	return err
}

// Close ends the setting of the clock; programs keep the one that they have.
func (c *Clock) Close() error { return c.file.Close() }
