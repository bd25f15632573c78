package snapshot

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/vietddude/load-balancer/routing"
)

// Catalog is what a snapshot is of.
type Catalog interface {
	State() routing.State
	Revision() uint64
}

// Options configure a [Keeper].
type Options struct {
	// Path is the file's.
	Path string
	// Interval is the least time between two writings; 0 means 1 s.
	Interval time.Duration
	// Logger is told of what went wrong, each once; nil discards.
	Logger *slog.Logger
}

// Keeper reads and writes the file. [Keeper.Load] comes first, then [Keeper.Run]; the other methods may be called at any
// time.
type Keeper struct {
	path     string
	interval time.Duration
	rest     int // after a writing nothing is written for so many times what it took
	log      *slog.Logger

	written, failed atomic.Uint64
	last            atomic.Int64 // when the file was written last, in Unix nanoseconds; 0 if it was not
	size            atomic.Int64
	loadErr         atomic.Pointer[error]
	writeErr        atomic.Pointer[error]
	loaded          atomic.Pointer[time.Time]
}

// New returns a keeper that has not touched the file.
func New(o Options) *Keeper {
	k := &Keeper{path: o.Path, interval: o.Interval, rest: 50, log: o.Logger}
	if k.interval <= 0 {
		k.interval = time.Second
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	return k
}

// Load reads the file, and reports whether there is a state. What is wrong with the file is logged and told by
// [Keeper.Stats]; it keeps nobody from starting.
func (k *Keeper) Load() (routing.State, bool) {
	sweep(k.path)
	st, at, found, err := load(k.path)
	if err != nil {
		k.loadErr.Store(&err)
		k.log.Error("the snapshot is not loaded", "path", k.path, "err", err)
		return routing.State{}, false
	}
	if found {
		k.loaded.Store(&at)
		k.log.Info("what the snapshot holds serves until the sources are in step", "path", k.path, "written", at)
	}
	return st, found
}

// Stats are a reading of a keeper.
type Stats struct {
	// Written and Failed count writings.
	Written, Failed uint64
	// Last is when the file was last written by this process; zero if it was not. Size is how large it was, in bytes.
	Last time.Time
	Size int64
	// Loaded is when the state was written that was loaded at the start; zero if none was.
	Loaded time.Time
	// LoadErr says why none was though there is a file, WriteErr why the last writing failed; nil if they did not.
	LoadErr, WriteErr error
	// Corrupt reports whether the file was set aside at the start.
	Corrupt bool
}

// Stats reads the keeper.
func (k *Keeper) Stats() Stats {
	st := Stats{Written: k.written.Load(), Failed: k.failed.Load(), Size: k.size.Load()}
	if at := k.last.Load(); at != 0 {
		st.Last = time.Unix(0, at)
	}
	if at := k.loaded.Load(); at != nil {
		st.Loaded = *at
	}
	if err := k.loadErr.Load(); err != nil {
		st.LoadErr = *err
		var corrupt *CorruptError
		st.Corrupt = errors.As(*err, &corrupt)
	}
	if err := k.writeErr.Load(); err != nil {
		st.WriteErr = *err
	}
	return st
}

// maxPause bounds the time between two tries to write, in intervals.
const maxPause = 30

// Run writes the file whenever the catalog has changed, until the context ends; then a last time. It is called once.
func (k *Keeper) Run(ctx context.Context, c Catalog) {
	var last uint64 // the revision that is on disk
	wait, failures := k.interval, 0
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			if c.Revision() > 0 {
				_ = k.write(c) // how long the sources were in step is worth it, also where nothing else changed
			}
			return
		case <-timer.C:
		}
		revision, began := c.Revision(), time.Now()
		wait = k.interval
		if revision != last {
			if err := k.write(c); err == nil {
				last, failures = revision, 0
				wait = max(k.interval, time.Duration(k.rest)*time.Since(began))
			} else {
				failures++
				wait = k.interval * time.Duration(min(1<<min(failures, 10), maxPause))
			}
		}
		timer.Reset(wait)
	}
}

// write writes the file. What goes wrong is logged once, until it is something else or goes well.
func (k *Keeper) write(c Catalog) error {
	st, now := c.State(), time.Now()
	text := encode(&st, now, k.size.Load())
	err := save(k.path, text)
	was := k.writeErr.Load()
	if err != nil {
		k.failed.Add(1)
		if was == nil || (*was).Error() != err.Error() {
			k.log.Error("the snapshot cannot be written; the balancer goes on without a new one and tries again", "path", k.path, "err", err)
		}
		k.writeErr.Store(&err)
		return err
	}
	if was != nil {
		k.log.Info("the snapshot is written again", "path", k.path)
		k.writeErr.Store(nil)
	}
	k.written.Add(1)
	k.last.Store(now.UnixNano())
	k.size.Store(int64(len(text)))
	return nil
}
