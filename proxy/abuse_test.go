package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/internal/testcert"
)

// What the engine makes of abuse is tested through the whole proxy: bytes as a client sends them, and the bytes that came
// to a backend which records them.

// ofEngine skips a test, whose door is always the engine, in the run with the other door.
func ofEngine(t testing.TB) {
	t.Helper()
	if !byEngine {
		t.Skip("the engine's own: it runs once")
	}
}

// wireRow is a line of a table: what is wanted, the bytes, and the section that says so.
type wireRow struct{ name, want, input, rfc string }

// wireRows reads a table of package http1, or of this one.
func wireRows(t testing.TB, path string) (all []wireRow) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		c := wireRow{name: fmt.Sprintf("%s:%d", path, n+1)}
		unquote := func() string {
			q, err := strconv.QuotedPrefix(line)
			if err != nil {
				t.Fatalf("%s: %q: %v", c.name, line, err)
			}
			line = strings.TrimSpace(line[len(q):])
			v, _ := strconv.Unquote(q)
			return v
		}
		if line[0] == '"' {
			c.want = unquote()
		} else {
			i := max(strings.IndexByte(line, '"'), 0)
			c.want, line = strings.TrimSpace(line[:i]), line[i:]
		}
		c.input = unquote()
		var ok bool
		if c.rfc, ok = strings.CutPrefix(line, "RFC "); !ok {
			t.Fatalf("%s: no section at the end: %q", c.name, line)
		}
		all = append(all, c)
	}
	return all
}

// recorder is a backend that keeps what comes, byte by byte. It answers what net/http takes for a request.
type recorder struct {
	url string

	mu      sync.Mutex // guards what follows
	parts   []*recorded
	conns   map[*net.TCPConn]bool // those that stand, and whether they are between a request's first byte and its answer
	whole   int                   // requests that came to their end
	foreign error                 // of net/http, which refused what came
}

type recorded struct {
	conn *net.TCPConn
	text bytes.Buffer
}

const recordedAnswer = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 2\r\n\r\n"

func newRecorder(t testing.TB) *recorder {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &recorder{url: "http://" + ln.Addr().String(), conns: make(map[*net.TCPConn]bool)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conn := c.(*net.TCPConn)
			b.set(conn, true, 0)
			wg.Go(func() { b.serve(conn) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		b.mu.Lock()
		for c := range b.conns {
			c.Close()
		}
		b.mu.Unlock()
		wg.Wait()
	})
	return b
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// serve reads a connection to its end.
func (b *recorder) serve(conn *net.TCPConn) {
	defer conn.Close()
	r := bufio.NewReader(readerFunc(func(p []byte) (int, error) { return b.read(conn, p) }))
	for {
		q, err := http.ReadRequest(r)
		if err != nil {
			if err != io.EOF && err != io.ErrUnexpectedEOF {
				b.mu.Lock()
				b.foreign = err
				b.mu.Unlock()
			}
			io.Copy(io.Discard, r)
			return
		}
		if strings.EqualFold(q.Header.Get("Expect"), "100-continue") {
			io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		if _, err := io.Copy(io.Discard, q.Body); err != nil {
			io.Copy(io.Discard, r)
			return
		}
		b.set(conn, false, 1)
		answer := recordedAnswer
		if q.Method != "HEAD" {
			answer += "ok"
		}
		io.WriteString(conn, answer)
	}
}

// read reads from a connection and keeps what comes in one, so that nothing is ever neither there nor here.
func (b *recorder) read(conn *net.TCPConn, p []byte) (n int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		n, failed = syscall.Read(int(fd), p)
		switch {
		case failed == syscall.EAGAIN || failed == syscall.EINTR:
			return false
		case n > 0:
			b.conns[conn] = true
			i := slices.IndexFunc(b.parts, func(r *recorded) bool { return r.conn == conn })
			if i < 0 {
				i = len(b.parts)
				b.parts = append(b.parts, &recorded{conn: conn})
			}
			b.parts[i].text.Write(p[:n])
		default:
			delete(b.conns, conn)
		}
		return true
	})
	if err == nil && n <= 0 {
		err = io.EOF
	}
	return max(n, 0), err
}

func (b *recorder) set(conn *net.TCPConn, busy bool, whole int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns[conn] = busy
	b.whole += whole
}

// quiet reports whether nothing is under way on any connection, and nothing has come that was not read.
func (b *recorder) quiet() bool {
	for conn, busy := range b.conns {
		raw, err := conn.SyscallConn()
		if busy || err != nil {
			return false
		}
		nothing := false
		raw.Control(func(fd uintptr) {
			_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			nothing = err == syscall.EAGAIN
		})
		if !nothing {
			return false
		}
	}
	return true
}

// take returns what came since it was called last, connection after connection, and how many requests that were.
func (b *recorder) take(t testing.TB) (text string, whole int) {
	t.Helper()
	// Connections are accepted in their order: once this one is, all that came before it are known.
	mark, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "the backend to accept all connections", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for c := range b.conns {
			if c.RemoteAddr().String() == mark.LocalAddr().String() {
				return true
			}
		}
		return false
	})
	mark.(*net.TCPConn).SetLinger(0)
	mark.Close()
	soon(t, "the backend to have read all", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.quiet()
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.parts {
		text += r.text.String()
	}
	if b.foreign != nil {
		t.Errorf("net/http refused what came to the backend: %v: %q", b.foreign, text)
	}
	whole = b.whole
	b.parts, b.whole, b.foreign = nil, 0, nil
	return text, whole
}

// soon is waitFor for what is there in no time.
func soon(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 100 {
		if ok() {
			return
		}
		runtime.Gosched()
	}
	waitFor(t, what, ok)
}

// abuse is an engine, in clear and in TLS, before a recorder.
type abuse struct {
	*lab
	backend    *recorder
	clear, tls string // addresses
	client     *tls.Config
	control    net.Conn // of a client that does no wrong
	controlled *bufio.Reader
}

// newAbuse starts engines whose patience has no end, so that what ends is ended for a better reason.
func newAbuse(t testing.TB) *abuse {
	t.Helper()
	files := testcert.Write(t, t.TempDir(), "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	a := &abuse{lab: newLab(t, defaultPolicy()), backend: newRecorder(t)}
	a.proxy.settleDelay = 5 * time.Second // a slow machine must not close what could go on
	a.announce("web", []string{a.backend.url})
	o := EngineOptions{HeadTimeout: time.Hour, IdleTimeout: time.Hour}
	_, a.clear = startEngine(t, a.lab, o)
	o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	_, a.tls = startEngine(t, a.lab, o)
	a.client = &tls.Config{RootCAs: files.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	a.control, a.controlled = dialTo(t, a.clear, "")
	return a
}

// A way to send bytes.
type way struct {
	name             string
	secure, eachByte bool
	before, after    string
}

const (
	askBefore = "GET /before HTTP/1.1\r\nHost: x\r\n\r\n"
	askAfter  = "GET /after HTTP/1.1\r\nHost: x\r\n\r\n"
	askLast   = "GET /last HTTP/1.1\r\nHost: x\r\n\r\n"
)

// ways are all of them. In TLS each byte is a record, and so surely a read of its own.
var ways = []way{
	{name: "whole"},
	{name: "byte by byte", eachByte: true},
	{name: "in TLS byte by byte", secure: true, eachByte: true},
	{name: "pipelined", before: askBefore, after: askAfter},
}

// send opens a connection and sends. What cannot be written any more is not: the answer tells why.
func (a *abuse) send(t testing.TB, w way, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", map[bool]string{false: a.clear, true: a.tls}[w.secure])
	if err != nil {
		t.Fatal(err)
	}
	if w.secure {
		config := a.client.Clone()
		config.ServerName = "127.0.0.1"
		c = tls.Client(c, config)
	}
	c.SetDeadline(time.Now().Add(30 * time.Second))
	text = w.before + text + w.after
	size := len(text)
	if w.eachByte {
		size = 1
	}
	for ; text != ""; text = text[min(size, len(text)):] {
		if _, err := io.WriteString(c, text[:min(size, len(text))]); err != nil {
			break
		}
	}
	return c, bufio.NewReader(c)
}

// answered reads a final answer to a request of that method.
func answered(r *bufio.Reader, method string) (*http.Response, error) {
	for {
		p, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(io.Discard, p.Body)
		if err != nil || p.StatusCode >= 200 {
			return p, err
		}
	}
}

// ended waits until no exchange is under way.
func (a *abuse) ended(t testing.TB) {
	t.Helper()
	soon(t, "all exchanges to end", func() bool { return a.proxy.Stats().Active == 0 })
}

// last asks once more, as somebody else: what an exchange before left behind on a connection to the backend comes to
// light. It returns what came to the backend before that, and how many requests it was.
func (a *abuse) last(t testing.TB) (text string, whole int) {
	t.Helper()
	a.ended(t)
	before, whole := a.backend.take(t)
	a.control.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(a.control, askLast)
	if p, err := answered(a.controlled, "GET"); err != nil || p.StatusCode != 200 {
		t.Fatalf("another client is answered %+v, %v", p, err)
	}
	a.ended(t)
	if text, n := a.backend.take(t); n != 1 || text != forwarded(askLast, false) {
		t.Errorf("what another client asked came as %q, %d requests", text, n)
	}
	return before, whole
}

// Fields that a backend is never sent as they came, and those that only ever are in chunked requests.
var (
	endHere = []string{"connection", "proxy-connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "upgrade",
		"http2-settings", "content-length", "transfer-encoding", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
		"forwarded", "x-forwarded-port", "x-forwarded-server", "x-forwarded-prefix", "x-forwarded-scheme", "x-forwarded-ssl", "x-real-ip"}
	namedInVain = []string{"host", "content-length", "transfer-encoding", "cache-control"}
)

// forwardedBy are the fields that tell a backend of the client.
func forwardedBy(host string, secure bool) string {
	proto := map[bool]string{false: "http", true: "https"}[secure]
	by := "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1"
	if host != "" {
		by += `;host="` + host + `"`
	}
	by += ";proto=" + proto + "\r\nX-Forwarded-Proto: " + proto + "\r\n"
	if host != "" {
		by += "X-Forwarded-Host: " + host + "\r\n"
	}
	return by
}

// forwarded is the head that a backend is to get of a right request, told line by line over strings.
func forwarded(input string, secure bool) string {
	head, _, _ := strings.Cut(strings.TrimPrefix(input, "\r\n"), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	words := strings.Split(lines[0], " ")
	method, target, old := words[0], words[1], words[2] == "HTTP/1.0"
	host, absolute, hasHost := "", false, false
	if i := strings.Index(target, "://"); i > 0 && target[0] != '/' {
		absolute = true
		host, target = target[i+3:], "/"
		if j := strings.IndexAny(host, "/?"); j >= 0 {
			host, target = host[:j], host[j:]
		} else if method == "OPTIONS" {
			target = "*"
		}
		if target[0] == '?' {
			target = "/" + target
		}
	}
	var named []string
	all := map[string]string{}
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		name, value = strings.ToLower(name), strings.Trim(value, " \t")
		if _, again := all[name]; again {
			value = all[name] + "," + value
		}
		all[name] = value
	}
	for n := range strings.SplitSeq(all["connection"], ",") {
		if n = strings.ToLower(strings.Trim(n, " \t")); !slices.Contains(namedInVain, n) {
			named = append(named, n)
		}
	}
	_, chunked := all["transfer-encoding"]
	out := ""
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		name, value = strings.ToLower(name), strings.Trim(value, " \t")
		if name == "host" && !absolute {
			host, hasHost = value, true
		}
		plain := strings.ReplaceAll(name, "_", "-")
		switch {
		case slices.Contains(endHere, name), slices.Contains(named, name):
		case plain != name && strings.HasPrefix(plain, "x-") && slices.Contains(endHere, plain):
		case name == "trailer" && !chunked, name == "expect" && old, name == "host" && absolute:
		default:
			out += l + "\r\n"
		}
	}
	line := method + " " + target + " HTTP/1.1\r\n"
	if !hasHost {
		line += "Host: " + host + "\r\n"
	}
	if up := all["upgrade"]; !old && up != "" && slices.Contains(named, "upgrade") && !strings.HasPrefix(up, "h2c") {
		out += "Connection: Upgrade\r\nUpgrade: " + up + "\r\n"
	} else if strings.Contains(all["te"], "trailers") {
		out += "Connection: TE\r\nTe: trailers\r\n"
	}
	out = line + out + forwardedBy(host, secure)
	if n, ok := all["content-length"]; ok {
		n = strings.TrimLeft(n, "0")
		out += "Content-Length: " + strings.Repeat("0", max(1-len(n), 0)) + n + "\r\n"
	} else if chunked {
		out += "Transfer-Encoding: chunked\r\n"
	}
	return out + "\r\n"
}

var chunkLine = regexp.MustCompile(`^(0|[1-9a-f][0-9a-f]*)\r\n`)

// unchunked takes apart content in chunks, of which nothing but the size may stand before the data: none has an extension,
// a leading zero or a capital letter. Ended says that the last chunk is there, behind which the trailers are.
func unchunked(text string) (content, trailers string, ended, right bool) {
	for text != "" {
		line := chunkLine.FindString(text)
		if line == "" {
			return content, "", false, false
		}
		n, err := strconv.ParseInt(line[:len(line)-2], 16, 64)
		text = text[len(line):]
		switch {
		case err != nil:
			return content, "", false, false
		case n == 0:
			trailers, ok := strings.CutSuffix(text, "\r\n")
			return content, trailers, true, ok
		case int64(len(text)) < n+2:
			return content + text[:min(n, int64(len(text)))], "", false, true
		}
		content += text[:n]
		if text[n:n+2] != "\r\n" {
			return content, "", false, false
		}
		text = text[n+2:]
	}
	return content, "", false, true
}

var lastChunk = regexp.MustCompile(`^0+([ \t]*;.*)?$`)

// passingTrailers are the trailers of chunked content that go on.
func passingTrailers(input string) (out string) {
	lines := strings.Split(strings.TrimSuffix(input, "\r\n\r\n"), "\r\n")
	i := len(lines) - 1
	for ; i >= 0 && !lastChunk.MatchString(lines[i]); i-- {
	}
	for _, l := range lines[i+1:] {
		name, _, _ := strings.Cut(l, ":")
		if name = strings.ToLower(name); !slices.Contains(endHere, name) && !slices.Contains([]string{
			"host", "trailer", "expect", "cookie", "set-cookie", "content-type", "content-encoding", "content-range",
			"cache-control", "authorization", "max-forwards"}, name) {
			out += l + "\r\n"
		}
	}
	return out
}
