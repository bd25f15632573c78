//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Disk is a file system of its own, of a fixed size, in memory. It lies in no folder: its files are reached through the
// open file, by those who have it, and it is gone when nobody has it any more.
type Disk struct {
	t    testing.TB
	File *os.File
}

// NewDisk makes a disk of so many bytes. Where the machine does not let us, it skips the test and says why.
func NewDisk(t testing.TB, size int) *Disk {
	t.Helper()
	fd, err := mountMemory(size)
	if err != nil {
		t.Skipf("tests on a disk of their own are skipped: %v", err)
	}
	d := &Disk{t: t, File: os.NewFile(uintptr(fd), "disk")}
	t.Cleanup(func() { d.File.Close() })
	return d
}

// mountMemory makes a tmpfs that is mounted nowhere.
func mountMemory(size int) (fd int, err error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("make a file system: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "size", strconv.Itoa(size)); err != nil {
		return 0, fmt.Errorf("make a file system of %d bytes: %w", size, err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return 0, fmt.Errorf("make a file system: %w", err)
	}
	if fd, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0); err != nil {
		return 0, fmt.Errorf("mount a file system: %w", err)
	}
	return fd, nil
}

// Path is a file of the disk, for this process.
func (d *Disk) Path(name string) string { return pathIn(int(d.File.Fd()), name) }

// PathFrom is a file of the disk for a program that has it open under a number.
func PathFrom(number int, name string) string { return pathIn(number, name) }

func pathIn(number int, name string) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(number), name)
}

// Fill leaves no room on the disk, until [Disk.Free] is called.
func (d *Disk) Fill() {
	d.t.Helper()
	f, err := os.Create(d.Path("filler"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, zeros{}); !errors.Is(err, unix.ENOSPC) {
		d.t.Fatalf("filling the disk ends with %v, want %v", err, unix.ENOSPC)
	}
}

// Free makes room again.
func (d *Disk) Free() {
	d.t.Helper()
	if err := os.Remove(d.Path("filler")); err != nil {
		d.t.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
