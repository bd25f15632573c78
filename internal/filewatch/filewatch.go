// Package filewatch tells when the content of files has changed, however it was changed: written in place, replaced by
// an editor's rename, removed and made again, or swapped by symbolic links as Kubernetes does with mounted volumes.
//
// Directories are watched rather than files, since a watched file is lost when another takes its name. Notifications
// only say when to look; whether something changed is decided by what the files hold. Where notifications cannot be had
// (limits of the system, network file systems), or are lost, a look at the files' attributes every second does.
package filewatch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// The times of a watcher.
const (
	settle  = 50 * time.Millisecond  // quiet after a notification before files are read
	patient = 500 * time.Millisecond // bound of that, for a file that is written without a pause
	poll    = time.Second            // looks without notifications; how long a file must be gone to count as removed
)

// Watcher watches some files. It is made by [New].
type Watcher struct {
	paths []string
	known []state
	gone  []time.Time // when a file was first found missing that is known to exist; zero if it is there

	// noNotify does without notifications; set in tests.
	noNotify bool
}

// New returns a watcher that knows the files as they are now. Make it before the files are read for the first time, so
// that no change in between is missed. Files need not exist yet.
func New(paths ...string) *Watcher {
	w := &Watcher{paths: paths, known: make([]state, len(paths)), gone: make([]time.Time, len(paths))}
	for i, p := range paths {
		w.known[i] = look(p)
	}
	return w
}

// Watch calls changed after each change of the files' content, until the context ends. See [Watcher.Run].
func Watch(ctx context.Context, paths []string, changed func()) error {
	return New(paths...).Run(ctx, changed)
}

// Run calls changed, from one goroutine at a time, after the content of a file has changed: some 50 ms after the last
// write, 500 ms after the first at the latest, within about a second where there are no notifications. A file that is
// removed has changed once it has been gone for a second. Run returns nil when the context has ended and all its
// goroutines with it, and an error only if there is nothing to watch. It must be called once.
func (w *Watcher) Run(ctx context.Context, changed func()) error {
	if len(w.paths) == 0 {
		return errors.New("filewatch: no files to watch")
	}
	n := w.notifier()
	defer n.close()
	n.follow(w.paths)
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	var due <-chan time.Time // of the look that a notification asked for
	var first time.Time      // of the notifications since the last look
	named := false           // whether one of them was about a file by its name
	// Something may have changed between New and the first directory being watched.
	if w.changed(true) {
		changed()
	}
	for {
		thorough := false
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-n.events:
			if !ok {
				n.events = nil
				continue
			}
			named = named || n.names[filepath.Base(e.Name)]
			if due == nil {
				first = time.Now()
			}
			due = time.After(min(settle, max(0, patient-time.Since(first))))
			continue
		case _, ok := <-n.errors:
			// Notifications were lost, perhaps.
			if !ok {
				n.errors = nil
				continue
			}
			thorough = true
		case <-due:
			thorough = named
		case <-ticker.C:
			if due != nil {
				continue
			}
		}
		due, named = nil, false
		n.follow(w.paths)
		if w.changed(thorough) {
			changed()
		}
	}
}

// changed looks at all files and reports whether the content of any differs from what is known. A look that is not
// thorough reads only files whose attributes differ.
func (w *Watcher) changed(thorough bool) bool {
	any := false
	for i, p := range w.paths {
		now := attributes(p)
		if !thorough && now.sameAttributes(w.known[i]) {
			w.gone[i] = time.Time{}
			continue
		}
		now.read(p)
		if now.missing && !w.known[i].missing {
			if w.gone[i].IsZero() {
				w.gone[i] = time.Now()
			}
			if time.Since(w.gone[i]) < poll {
				continue
			}
		}
		w.gone[i] = time.Time{}
		any = any || now.content() != w.known[i].content()
		w.known[i] = now
	}
	return any
}

// notifier watches the directories that lead to some files. Its channels are nil where there are no notifications.
type notifier struct {
	watcher *fsnotify.Watcher
	events  chan fsnotify.Event
	errors  chan error
	dirs    map[string]bool
	// names are those of the files and of the links to them. What happens to others in the same directories is worth a
	// look at attributes only.
	names map[string]bool
}

func (w *Watcher) notifier() *notifier {
	n := &notifier{dirs: map[string]bool{}}
	if w.noNotify {
		return n
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return n // the system's limit: looking every second does
	}
	n.watcher, n.events, n.errors = watcher, watcher.Events, watcher.Errors
	return n
}

func (n *notifier) close() {
	if n.watcher != nil {
		_ = n.watcher.Close() // nothing is written
	}
}

// follow watches the directories in which a link or file stands that leads to one of the paths, and no others.
func (n *notifier) follow(paths []string) {
	if n.watcher == nil {
		return
	}
	want := map[string]bool{}
	n.names = map[string]bool{}
	for _, p := range paths {
		dirs, names := way(p)
		for _, dir := range dirs {
			want[dir] = true
		}
		for _, name := range names {
			n.names[name] = true
		}
	}
	// What the watcher itself dropped, because the directory was removed, is watched anew.
	have := map[string]bool{}
	for _, dir := range n.watcher.WatchList() {
		have[dir] = true
	}
	for dir := range n.dirs {
		if !want[dir] {
			_ = n.watcher.Remove(dir) // fails if the directory is gone, and with it the watch
			delete(n.dirs, dir)
		}
	}
	for dir := range want {
		if !have[dir] && n.watcher.Add(dir) == nil { // else the next look tries again
			n.dirs[dir] = true
		}
	}
}

// way returns the directories and names of the path itself and of every link on the way to the file.
func way(path string) (dirs, names []string) {
	const most = 40 // links in a row, as in the kernel
	path = filepath.Clean(path)
	for range most {
		dir := filepath.Dir(path)
		dirs, names = append(dirs, dir), append(names, filepath.Base(path))
		// A directory on the way may be a link as well: ..data, in Kubernetes.
		if real, err := filepath.EvalSymlinks(dir); err == nil && real != dir {
			for link := dir; link != filepath.Dir(link); link = filepath.Dir(link) {
				if info, err := os.Lstat(link); err == nil && info.Mode()&os.ModeSymlink != 0 {
					dirs = append(dirs, filepath.Dir(link))
				}
			}
			dirs = append(dirs, real)
		}
		target, err := os.Readlink(path)
		if err != nil {
			return dirs, names
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return dirs, names
}
