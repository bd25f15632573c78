package filewatch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start watches the files with the system's notifications, and returns where changes are told: each with what the first
// file holds then.
func start(t *testing.T, paths ...string) <-chan string {
	t.Helper()
	told := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	w, ended := New(paths...), make(chan error, 1)
	go func() {
		ended <- w.Run(ctx, func() {
			data, err := os.ReadFile(paths[0])
			if err != nil {
				told <- "gone"
				return
			}
			told <- string(data)
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return told
}

// await waits until a change is told after which the file holds the text. One change may be told as several.
func await(t *testing.T, told <-chan string, want string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case got := <-told:
			if got == want {
				return
			}
		case <-deadline:
			t.Fatalf("no change was told after which the file is %q", want)
		}
	}
}

func TestAFileThatIsWrittenInPlaceIsTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	write(t, file, "one")
	told := start(t, file)
	write(t, file, "two")
	await(t, told, "two")
}

func TestARenameOverTheFileIsToldAgainAndAgain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	write(t, file, "0")
	told := start(t, file)
	for _, text := range []string{"1", "2", "3"} {
		write(t, filepath.Join(dir, "tmp"), text)
		must(t, os.Rename(filepath.Join(dir, "tmp"), file))
		await(t, told, text)
	}
}

func TestAFileThatIsMovedAwayAndWrittenAnewIsTold(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	write(t, file, "old")
	told := start(t, file)
	must(t, os.Rename(file, file+"~"))
	write(t, file, "new")
	await(t, told, "new")
}

func TestAFileThatComesToBeIsTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sub", "f")
	told := start(t, file)
	must(t, os.Mkdir(filepath.Dir(file), 0o755))
	write(t, file, "here")
	await(t, told, "here")
}

func TestADirectoryThatIsRemovedAndMadeAgainIsFollowed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sub", "f")
	must(t, os.Mkdir(filepath.Dir(file), 0o755))
	write(t, file, "one")
	told := start(t, file)
	must(t, os.RemoveAll(filepath.Dir(file)))
	await(t, told, "gone")
	must(t, os.Mkdir(filepath.Dir(file), 0o755))
	write(t, file, "two")
	await(t, told, "two")
}

// Kubernetes mounts config/file -> ..data/file and ..data -> ..version, and replaces ..data by a rename.
func TestASwapOfKubernetesDataLinkIsToldAgainAndAgain(t *testing.T) {
	dir := t.TempDir()
	version := func(name, text string) {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		write(t, filepath.Join(dir, name, "f"), text)
		must(t, os.Symlink(name, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	version("..v1", "one")
	must(t, os.Symlink(filepath.Join("..data", "f"), filepath.Join(dir, "f")))
	told := start(t, filepath.Join(dir, "f"))
	version("..v2", "two")
	await(t, told, "two")
	must(t, os.RemoveAll(filepath.Join(dir, "..v1")))
	version("..v3", "three")
	await(t, told, "three")
}

func TestALinkToAFileElsewhereIsFollowed(t *testing.T) {
	here, there := t.TempDir(), t.TempDir()
	write(t, filepath.Join(there, "target"), "one")
	link := filepath.Join(here, "link")
	must(t, os.Symlink(filepath.Join(there, "target"), link))
	told := start(t, link)
	write(t, filepath.Join(there, "target"), "two")
	await(t, told, "two")
}

func TestAnyOfSeveralFilesIsTold(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(t.TempDir(), "b")
	write(t, a, "a")
	told := start(t, a, b)
	write(t, b, "b")
	await(t, told, "a")
}

func TestWhatChangedBetweenNewAndRunIsTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	write(t, file, "one")
	w := New(file)
	write(t, file, "two")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := 0
	must(t, w.Run(ctx, func() { calls++; cancel() }))
	if calls != 1 {
		t.Errorf("told %d times, want once", calls)
	}
}

func TestNothingToWatchIsAnError(t *testing.T) {
	if Watch(t.Context(), nil, func() {}) == nil {
		t.Error("no error")
	}
}

// polled runs a watcher without notifications in a bubble of synctest, where time passes at once.
func polled(t *testing.T, file string, body func(calls func() int)) {
	synctest.Test(t, func(t *testing.T) {
		w := New(file)
		w.noNotify = true
		ctx, cancel := context.WithCancel(t.Context())
		n, ended := 0, make(chan error, 1)
		go func() { ended <- w.Run(ctx, func() { n++ }) }()
		body(func() int {
			time.Sleep(2*poll + time.Millisecond) // of the bubble: two looks pass
			synctest.Wait()
			return n
		})
		cancel()
		must(t, <-ended)
	})
}

func TestWithoutNotificationsChangesAreFoundByLooking(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	write(t, file, "one")
	polled(t, file, func(calls func() int) {
		if n := calls(); n != 0 {
			t.Errorf("told %d times before anything changed", n)
		}
		write(t, file, "other")
		if n := calls(); n != 1 {
			t.Errorf("told %d times, want once", n)
		}
	})
}

func TestTheSameContentIsNoChange(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	write(t, file, "one")
	polled(t, file, func(calls func() int) {
		write(t, filepath.Join(dir, "tmp"), "one")
		must(t, os.Rename(filepath.Join(dir, "tmp"), file))
		must(t, os.Chtimes(file, time.Time{}, time.Unix(1, 0)))
		if n := calls(); n != 0 {
			t.Errorf("told %d times of a file that is as before", n)
		}
	})
}

func TestARemovedFileIsToldOnceAndAgainWhenItIsBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	write(t, file, "one")
	polled(t, file, func(calls func() int) {
		must(t, os.Remove(file))
		if n := calls(); n != 1 {
			t.Errorf("told %d times of the removal, want once", n)
		}
		write(t, file, "one")
		if n := calls(); n != 2 {
			t.Errorf("told %d times in all, want twice", n)
		}
	})
}

func TestAFileThatIsGoneForAMomentIsNoChange(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	write(t, file, "one")
	w := New(file)
	must(t, os.Remove(file))
	if w.changed(true) {
		t.Error("told at once that the file is gone")
	}
	write(t, file, "one")
	if w.changed(true) {
		t.Error("told of a file that is as before")
	}
}

func TestWhatIsNoRegularFileIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	if s := look(dir); s.failure == "" {
		t.Error("a directory is taken for a file")
	}
}
