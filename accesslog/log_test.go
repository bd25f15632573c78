package accesslog

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sample() *Record {
	return &Record{
		Start: time.Date(2026, 1, 2, 3, 4, 5, 6789000, time.UTC), Duration: 12345 * time.Microsecond,
		Client: netip.MustParseAddr("192.0.2.1"), Method: "GET", Host: "example.com", Target: "/a?b=c",
		Proto: "HTTP/1.1", TLS: "TLS 1.3", Status: 200, BytesIn: 1, BytesOut: 2, Service: "web", Route: "r", Backend: "b1",
		Attempts: 1,
	}
}

func open(t *testing.T, o Options) (*Log, string) {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "access.log")
	}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, o.Path
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestJSONLineTellsTheExchange(t *testing.T) {
	want := `{"time":"2026-01-02T03:04:05.006789Z","duration_ms":12.345,"client":"192.0.2.1","method":"GET","host":"example.com",` +
		`"target":"/a?b=c","proto":"HTTP/1.1","tls":"TLS 1.3","service":"web","route":"r","backend":"b1","status":200,` +
		`"bytes_in":1,"bytes_out":2,"attempts":1}` + "\n"
	if got := string(JSON.appendLine(nil, sample())); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestCommonLineTellsTheExchange(t *testing.T) {
	want := `192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] "GET /a?b=c HTTP/1.1" 200 2` + "\n"
	if got := string(Common.appendLine(nil, sample())); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestNoTextForgesALine(t *testing.T) {
	evil := "/x\" 200 1\n10.0.0.1 - - [x] \"GET /\r\x00\x1b[31m\\\u2028\u0085\xff"
	r := sample()
	r.Target, r.Host, r.Method = evil, evil, evil
	for _, f := range []Format{JSON, Common} {
		line := f.appendLine(nil, r)
		if n := bytes.Count(line, []byte("\n")); n != 1 || line[len(line)-1] != '\n' {
			t.Errorf("%s: %d line ends in %q", f, n, line)
		}
		if bytes.ContainsAny(line[:len(line)-1], "\r\x00\x1b\u2028\u0085") {
			t.Errorf("%s: a control character in %q", f, line)
		}
	}
	var back struct{ Target string }
	if err := json.Unmarshal(JSON.appendLine(nil, r), &back); err != nil || back.Target != strings.ToValidUTF8(evil, "\ufffd") {
		t.Errorf("read back %q (%v)", back.Target, err)
	}
	if got := string(Common.appendLine(nil, r)); strings.Count(got, `"`)-strings.Count(got, `\"`) != 2 {
		t.Errorf("an unescaped quote in %q", got)
	}
}

func TestLongTextsAreClipped(t *testing.T) {
	r := sample()
	r.Target = "/" + strings.Repeat("x", 1<<20)
	for _, f := range []Format{JSON, Common} {
		if n := len(f.appendLine(nil, r)); n > 2*maxField {
			t.Errorf("%s: a line of %d bytes", f, n)
		}
	}
}

func TestCloseWritesWhatIsBuffered(t *testing.T) {
	l, path := open(t, Options{})
	for range 500 {
		l.Log(sample())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(read(t, path), "\n"); n != 500 {
		t.Errorf("%d lines, want 500", n)
	}
	l.Log(sample())
	if s := l.Stats(); s != (Stats{Written: 500, Dropped: 1}) {
		t.Errorf("stats %+v, want 500 written and the late one dropped", s)
	}
}

func TestCloseWritesMoreThanABatch(t *testing.T) {
	const lines = 12*batch + 7
	l, path := open(t, Options{Buffer: lines})
	l.mu.Lock() // so that all of them wait
	for range lines {
		l.Log(sample())
	}
	closed := make(chan error)
	go func() { closed <- l.Close() }()
	<-l.quit
	l.mu.Unlock()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(read(t, path), "\n"); n != lines || l.Stats().Written != lines {
		t.Errorf("%d lines in the file and %+v counted, want all %d", n, l.Stats(), lines)
	}
}

func TestReopenFollowsAMovedFile(t *testing.T) {
	l, path := open(t, Options{Format: Common})
	l.Log(sample())
	waitFor(t, func() bool { return l.Stats().Written == 1 })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.Log(sample())
	waitFor(t, func() bool { return l.Stats().Written == 2 })
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Log(sample())
	l.Close()
	if a, b := strings.Count(read(t, path+".1"), "\n"), strings.Count(read(t, path), "\n"); a != 2 || b != 1 {
		t.Errorf("%d lines in the old file and %d in the new, want 2 and 1", a, b)
	}
}

func TestFailedReopenKeepsTheOldFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, _ := open(t, Options{Path: filepath.Join(dir, "access.log")})
	moved := dir + "-moved"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Error("no error although the folder is gone")
	}
	l.Log(sample())
	l.Close()
	if n := strings.Count(read(t, filepath.Join(moved, "access.log")), "\n"); n != 1 {
		t.Errorf("%d lines in the old file, want 1", n)
	}
}

// A writer that does not get on must not stop an exchange. The writing goroutine is held by its own lock.
func TestFullBufferDropsAndNeverBlocks(t *testing.T) {
	l, path := open(t, Options{Buffer: 4})
	l.mu.Lock()
	for range 100 {
		l.Log(sample())
	}
	dropped := l.Stats().Dropped
	l.mu.Unlock()
	if dropped < 95 || dropped > 96 { // 4 are buffered, and the goroutine may hold one more
		t.Errorf("%d dropped of 100 with a buffer of 4", dropped)
	}
	l.Close()
	if n := strings.Count(read(t, path), "\n"); n != 100-int(dropped) {
		t.Errorf("%d lines written, want %d", n, 100-dropped)
	}
}

func TestUnwritableLinesAreCounted(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	l, _ := open(t, Options{Path: "/dev/full"})
	l.Log(sample())
	l.Close()
	if s := l.Stats(); s != (Stats{Dropped: 1}) {
		t.Errorf("stats %+v, want one dropped", s)
	}
}

func TestOpenTellsWhatIsWrong(t *testing.T) {
	if _, err := Open(Options{Format: "xml"}); err == nil || !strings.Contains(err.Error(), "json or common") {
		t.Errorf("format xml: %v", err)
	}
	if _, err := Open(Options{Path: filepath.Join(t.TempDir(), "no", "such", "folder")}); err == nil {
		t.Error("a path in no folder was opened")
	}
}

func TestConcurrentUse(t *testing.T) {
	l, path := open(t, Options{Buffer: 100_000})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				l.Log(sample())
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if err := l.Reopen(); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	l.Close()
	want := string(JSON.appendLine(nil, sample()))
	if got := read(t, path); got != strings.Repeat(want, 4000) {
		t.Errorf("%d lines, some of them torn or lost", strings.Count(got, "\n"))
	}
}

func TestLogDoesNotAllocate(t *testing.T) {
	r := sample()
	buf := make([]byte, 0, 4096)
	for _, f := range []Format{JSON, Common} {
		if n := testing.AllocsPerRun(100, func() { f.appendLine(buf, r) }); n != 0 {
			t.Errorf("%s: %v allocations a line", f, n)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("GET", "/", "example.com")
	f.Add("\n", "\"\\", "\xff\u2028")
	f.Fuzz(func(t *testing.T, method, target, host string) {
		r := sample()
		r.Method, r.Target, r.Host = method, target, host
		line := JSON.appendLine(nil, r)
		var back struct{ Method, Target, Host string }
		if err := json.Unmarshal(line, &back); err != nil || !utf8.Valid(line) {
			t.Fatalf("%q: %v", line, err)
		}
		if len(target) <= maxField && back.Target != string([]rune(target)) {
			t.Errorf("target %q reads back as %q", target, back.Target)
		}
		for _, f := range []Format{JSON, Common} {
			if line := f.appendLine(nil, r); bytes.IndexByte(line, '\n') != len(line)-1 {
				t.Errorf("a line end within %q", line)
			}
		}
	})
}

func BenchmarkLog(b *testing.B) {
	l, err := Open(Options{Path: os.DevNull})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	r := sample()
	b.ReportAllocs()
	for b.Loop() {
		l.Log(r)
	}
}

// waitFor polls for what another goroutine does soon.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen in 10 s")
		}
	}
}

func TestTimesAreWrittenAsByTheirLayout(t *testing.T) {
	for _, at := range []time.Time{
		sample().Start, time.Date(1999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(7, 1, 1, 0, 0, 0, 1000, time.UTC),
	} {
		if got, want := string(appendTime(nil, at)), at.Format("2006-01-02T15:04:05.000000Z"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
