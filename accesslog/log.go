package accesslog

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure a [Log]. The zero value writes JSON to standard output.
type Options struct {
	// Format is how lines look.
	Format Format
	// Path is the file that lines are appended to; empty or "-" means standard output.
	Path string
	// Buffer is how many lines wait to be written before further ones are dropped; 0 means 8192.
	Buffer int
	// Logger is told when lines cannot be written; nil means nobody is.
	Logger *slog.Logger
}

// Log writes access lines, within a hundredth of a second. Its methods may be called concurrently.
type Log struct {
	format Format
	path   string
	logger *slog.Logger

	lines  chan *[]byte
	pool   sync.Pool // of *[]byte
	quit   chan struct{}
	gather *time.Timer // of the writing goroutine; nil if it writes at once
	done   chan struct{}
	closed atomic.Bool

	written, dropped atomic.Uint64

	// mu guards file, out and failing. The writing goroutine holds it while it writes, Reopen while it swaps.
	mu      sync.Mutex
	file    *os.File // nil for standard output
	out     *bufio.Writer
	failing bool // the last write failed and was told of
}

// Open returns a log that appends to its file, which it creates if need be. It is closed by [Log.Close].
func Open(o Options) (*Log, error) {
	format, err := ParseFormat(string(o.Format))
	if err != nil {
		return nil, err
	}
	if o.Buffer <= 0 {
		o.Buffer = 8192
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{
		format: format, path: o.Path, logger: o.Logger,
		lines: make(chan *[]byte, o.Buffer), quit: make(chan struct{}), done: make(chan struct{}),
	}
	if o.Buffer >= gatherFrom {
		l.gather = time.NewTimer(time.Hour)
		l.gather.Stop()
	}
	l.pool.New = func() any { b := make([]byte, 0, 512); return &b }
	var w io.Writer = os.Stdout
	if !l.toStdout() {
		if l.file, err = openFile(o.Path); err != nil {
			return nil, err
		}
		w = l.file
	}
	l.out = bufio.NewWriterSize(w, 64<<10)
	go l.run()
	return l, nil
}

func (l *Log) toStdout() bool { return l.path == "" || l.path == "-" }

func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("opening the access log: %w", err)
	}
	return f, nil
}

// Log writes a line for the record, which it does not keep. It never blocks: if the buffer is full the line is dropped.
func (l *Log) Log(r *Record) {
	if l.closed.Load() {
		l.dropped.Add(1)
		return
	}
	b := l.pool.Get().(*[]byte)
	*b = l.format.appendLine((*b)[:0], r)
	select {
	case l.lines <- b:
	default:
		l.pool.Put(b)
		l.dropped.Add(1)
	}
}

// Stats are the numbers of lines written and dropped. Lines that could not be written count as dropped.
type Stats struct{ Written, Dropped uint64 }

// Stats reads the numbers.
func (l *Log) Stats() Stats { return Stats{Written: l.written.Load(), Dropped: l.dropped.Load()} }

// Reopen opens the file anew by its path, after it was moved away. If that fails, the error says why and lines go on
// into the old file. Standard output stays what it is.
func (l *Log) Reopen() error {
	if l.toStdout() || l.closed.Load() {
		return nil
	}
	f, err := openFile(l.path)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil { // closed meanwhile
		return f.Close()
	}
	l.failed(l.out.Flush(), 0)
	l.file.Close()
	l.file = f
	l.out.Reset(f)
	return nil
}

// Close writes what is buffered and closes the file. Lines logged afterwards are dropped.
func (l *Log) Close() error {
	if l.closed.Swap(true) {
		<-l.done
		return nil
	}
	close(l.quit)
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	if err := f.Close(); err != nil {
		return fmt.Errorf("closing the access log: %w", err)
	}
	return nil
}

// run writes lines until the log is closed.
func (l *Log) run() {
	defer close(l.done)
	for {
		select {
		case b := <-l.lines:
			if l.gather != nil {
				l.wait()
			}
			l.writeFrom(b)
		case <-l.quit:
			for len(l.lines) > 0 {
				l.writeFrom(<-l.lines)
			}
			return
		}
	}
}

const (
	// gatherTime is how long the first line of a write waits for others. To wake a goroutine for each line, and write it
	// alone, would cost more than the line.
	gatherTime = 10 * time.Millisecond
	// gatherFrom is the least buffer that holds what may come meanwhile.
	gatherFrom = 4096
)

// wait lets lines gather.
func (l *Log) wait() {
	l.gather.Reset(gatherTime)
	select {
	case <-l.gather.C:
	case <-l.quit:
	}
}

// batch is how many lines are written at most before Reopen is let in.
const batch = 1024

// writeFrom writes the line and those that wait behind it, up to a batch, and flushes.
func (l *Log) writeFrom(b *[]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := uint64(1); ; n++ {
		l.out.Write(*b) // an error stays in the buffer and is told by Flush
		if cap(*b) <= 16<<10 {
			l.pool.Put(b)
		}
		if n < batch {
			select {
			case b = <-l.lines:
				continue
			default:
			}
		}
		l.failed(l.out.Flush(), n)
		return
	}
}

// failed counts n lines that were flushed with that outcome, and tells of the first failure of a row.
func (l *Log) failed(err error, n uint64) {
	if err == nil {
		l.written.Add(n)
		l.failing = false
		return
	}
	l.dropped.Add(n)
	if !l.failing {
		l.failing = true
		l.logger.Error("the access log cannot be written; lines are lost until it can", "error", err)
	}
	if l.file != nil {
		l.out.Reset(l.file)
	} else {
		l.out.Reset(os.Stdout)
	}
}
