package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// liar is a backend that answers with given bytes on a connection, and tells connections apart.
type liar struct {
	text atomic.Pointer[string]
	// reused says that a request came over a connection that the text of now had gone over.
	reused atomic.Bool
	// What follows the bytes.
	after atomic.Int32
}

const lastAnswer = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 8\r\n\r\nthe last"

// What a liar does when it has spoken.
const (
	staysOpen int32 = iota
	endsWell
	resetsIt
)

func (b *liar) serve(c *net.TCPConn, r *bufio.Reader) {
	var lied *string
	for {
		q, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		io.Copy(io.Discard, q.Body)
		text := b.text.Load()
		if q.URL.Path == "/last" {
			if lied == text {
				b.reused.Store(true)
			}
			io.WriteString(c, lastAnswer)
			continue
		}
		lied = text
		if _, err := io.WriteString(c, *text); err != nil {
			return
		}
		switch b.after.Load() {
		case endsWell:
			c.CloseWrite()
			io.Copy(io.Discard, r)
			return
		case resetsIt:
			c.SetLinger(0)
			return
		}
	}
}

// lies is an engine, without retries, before a liar.
type lies struct {
	*lab
	backend *liar
	addr    string
	control net.Conn
	r       *bufio.Reader
}

func newLies(t testing.TB) *lies {
	t.Helper()
	p := defaultPolicy()
	p.Retry.MaxRetries = 0
	l := &lies{lab: newLab(t, p), backend: new(liar)}
	l.announce("web", []string{rawBackend(t, l.backend.serve)})
	_, l.addr = startEngine(t, l.lab, EngineOptions{HeadTimeout: time.Hour, IdleTimeout: time.Hour})
	l.control, l.r = dialTo(t, l.addr, "")
	l.control.SetDeadline(time.Now().Add(10 * time.Minute))
	return l
}

// told sends a request and returns all that comes until the engine closes, or until the answer is whole if it does not:
// a client asks once more then, and the answer to that is cut off.
func (l *lies) told(t testing.TB, request string) (text string, closed bool) {
	t.Helper()
	c, err := net.Dial("tcp", l.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, request+askLast)
	var b []byte
	for err == nil && !bytes.HasSuffix(b, []byte(lastAnswer)) {
		var n int
		b = slices.Grow(b, 4096)
		n, err = c.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
	}
	if err != nil && err != io.EOF && !strings.Contains(err.Error(), "reset") {
		t.Errorf("%q: %v", request, err)
	}
	text, more := strings.CutSuffix(string(b), lastAnswer)
	return text, !more
}

// reuses reports whether another client's request goes over the connection that the last one went over.
func (l *lies) reuses(t testing.TB) bool {
	t.Helper()
	soon(t, "the exchange to end", func() bool { return l.proxy.Stats().Active == 0 })
	io.WriteString(l.control, askLast)
	p, err := http.ReadResponse(l.r, nil)
	if err != nil {
		t.Fatalf("another client: %v", err)
	}
	if b, err := io.ReadAll(p.Body); string(b) != "the last" || p.StatusCode != 200 {
		t.Errorf("another client is answered %d %q, %v", p.StatusCode, b, err)
	}
	soon(t, "the exchange to end", func() bool { return l.proxy.Stats().Active == 0 })
	return l.backend.reused.Swap(false)
}

// told502 reports whether an answer is the engine's own.
func told502(text string) bool {
	p, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), nil)
	return err == nil && p.StatusCode == 502 && p.Header.Get("X-Content-Type-Options") == "nosniff"
}

// relayedHead is the head that a client of HTTP/1.1 is to get of a right final response, told line by line.
func relayedHead(input, method string) (head string, chunked bool) {
	text, _, _ := strings.Cut(input, "\r\n\r\n")
	lines := strings.Split(text, "\r\n")
	line := lines[0]
	status := line[9:12]
	out := "HTTP/1.1 " + status + " " + strings.TrimPrefix(line[12:], " ") + "\r\n"
	var named []string
	length, date := "", false
	sized, coded := false, false
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		name, value = strings.ToLower(name), strings.Trim(value, " \t")
		switch name {
		case "connection":
			for n := range strings.SplitSeq(value, ",") {
				named = append(named, strings.ToLower(strings.Trim(n, " \t")))
			}
		case "content-length":
			sized, length = true, value
		case "transfer-encoding":
			coded = true
		case "date":
			date = true
		}
	}
	bodiless := method == "HEAD" || status == "204" || status == "304"
	chunked = !bodiless && (coded || !sized)
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		bare := strings.TrimRight(name, " \t")
		if bare != name { // RFC 9112, 5.1: the blanks go
			l = bare + ": " + strings.Trim(value, " \t")
		}
		switch bare = strings.ToLower(bare); {
		case slices.Contains([]string{"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "upgrade", "content-length", "transfer-encoding"}, bare):
		case bare == "trailer" && !coded, slices.Contains(named, bare) && !slices.Contains(namedInVain, bare):
		default:
			out += l + "\r\n"
		}
	}
	if !date {
		out += "Date: now\r\n"
	}
	switch {
	case chunked:
		out += "Transfer-Encoding: chunked\r\n"
	case sized && status != "204":
		length = strings.TrimLeft(length, "0")
		out += "Content-Length: " + strings.Repeat("0", max(1-len(length), 0)) + length + "\r\n"
	}
	return out + "\r\n", chunked
}

// undated makes the date that the engine set into a word.
func undated(text string) string {
	before, rest, ok := strings.Cut(text, "\r\nDate: ")
	if day, after, found := strings.Cut(rest, "\r\n"); ok && found && strings.HasSuffix(day, " GMT") && !strings.Contains(day, "1970") {
		return before + "\r\nDate: now\r\n" + after
	}
	return text
}

func TestEngineRelaysAndRefusesWhatTheTableSays(t *testing.T) {
	ofEngine(t)
	t.Parallel()
	l := newLies(t)
	type answer struct {
		wireRow
		method, content, trailers string
		persists, fully, refused  bool
		after                     int32
	}
	var all []answer
	for _, row := range wireRows(t, "http1/testdata/responses.txt") {
		words := strings.Fields(row.want)
		k := answer{wireRow: row, method: words[len(words)-1]}
		if k.method == "CONNECT" || strings.Contains(row.input, "HTTP/1.1 1") {
			continue // nobody gets so far; and what is informational has a test of its own
		}
		_, body, _ := strings.Cut(row.input, "\r\n\r\n")
		switch {
		case words[0] == "bad":
			k.refused = true
		case strings.HasPrefix(words[0], "chunked"):
			k.content, k.trailers, _, _ = unchunked(body)
			k.fully, k.persists = true, words[1] == "keep"
		case strings.HasPrefix(words[0], "none"):
			k.fully, k.persists = true, words[1] == "keep"
		default:
			k.content, k.fully, k.persists = body, true, words[1] == "keep"
		}
		if strings.HasPrefix(words[0], "close") {
			k.after = endsWell
		}
		all = append(all, k)
	}
	for _, row := range wireRows(t, "http1/testdata/chunks.txt") {
		k := answer{wireRow: row, method: "GET", content: row.want, trailers: passingTrailers(row.input), fully: true, persists: true}
		k.input = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + row.input
		switch row.want {
		case "bad":
			k.fully, k.persists = false, false
		case "short":
			k.fully, k.persists, k.after = false, false, endsWell
		}
		all = append(all, k)
	}
	for _, k := range all { // each has a place of its own, which the liar tells it by
		fail := func(format string, args ...any) {
			t.Helper()
			t.Errorf("%s: %q to %s: %s (RFC %s)", k.name, k.input, k.method, fmt.Sprintf(format, args...), k.rfc)
		}
		l.backend.text.Store(&k.input)
		l.backend.after.Store(k.after)
		text, closed := l.told(t, k.method+" / HTTP/1.1\r\nHost: x\r\n\r\n")
		if l.reuses(t) && !k.persists {
			// Of a connection on which nothing more came it is only known that it may be used again.
			fail("the backend's connection is used again")
		}
		switch {
		case k.refused && k.method == "HEAD":
			if !strings.HasPrefix(text, "HTTP/1.1 502 ") || !strings.HasSuffix(text, "\r\n\r\n") {
				fail("the client is told %q, want 502", text)
			}
			continue
		case told502(text) && !k.fully:
			continue
		case k.refused:
			fail("the client is told %q, want 502", text)
			continue
		}
		head, chunked := relayedHead(k.input, k.method)
		body, ok := strings.CutPrefix(undated(text), head)
		if !ok {
			fail("the client is told %q, want %q", text, head)
			continue
		}
		if !chunked {
			if body != k.content || closed {
				fail("the client is told the content %q, closed: %v; want %q", body, closed, k.content)
			}
			continue
		}
		content, trailers, ended, right := unchunked(body)
		switch {
		case k.fully && (content != k.content || trailers != k.trailers || !ended || !right || closed):
			fail("the client is told %q, closed: %v; want content %q and trailers %q", body, closed, k.content, k.trailers)
		case !k.fully && (ended || !right || !closed):
			fail("the client is told %q, closed: %v; want what breaks off", body, closed)
		}
	}
	t.Logf("%d responses", len(all))
}

// In the table of what is right, all of it comes to the client as it was.
func TestEngineWhatIsValidComesBackUnchanged(t *testing.T) {
	ofEngine(t)
	t.Parallel()
	l := newLies(t)
	rows := wireRows(t, "testdata/valid-responses.txt")
	for _, row := range rows {
		l.backend.text.Store(&row.input)
		l.backend.after.Store(staysOpen)
		if text, closed := l.told(t, row.want+" / HTTP/1.1\r\nHost: x\r\n\r\n"); text != row.input || closed {
			t.Errorf("%s: to %s the client is told, closed: %v,\n%q, want\n%q (RFC %s)", row.name, row.want, closed, text, row.input, row.rfc)
		}
		if !l.reuses(t) {
			t.Errorf("%s: %q: the backend's connection is not used again", row.name, row.input)
		}
	}
	if len(rows) < 60 {
		t.Errorf("only %d rows", len(rows))
	}
}

func TestEngineBackendsThatLie(t *testing.T) {
	ofEngine(t)
	t.Parallel()
	l := newLies(t)
	const (
		gateway = "502"   // the engine's answer
		broken  = "cut"   // a response that the close breaks off, and that no client takes for whole
		whole   = "whole" // the answer, and nothing of what is wrong behind it
	)
	long := strings.Repeat("x", 200<<10)
	head := "HTTP/1.1 200 OK\r\n"
	for _, k := range []struct {
		name, text string
		after      int32
		want       string
		body       string
		rfc        string
	}{
		{"nothing", "", endsWell, gateway, "", "9112, 8"},
		{"a reset at once", "", resetsIt, gateway, "", "9112, 8"},
		{"part of a status line", "HTTP/1.1 20", endsWell, gateway, "", "9112, 8"},
		{"a status line", head, endsWell, gateway, "", "9112, 8"},
		{"part of a field", head + "Content-Le", endsWell, gateway, "", "9112, 8"},
		{"a head but for its last byte", head + "Content-Length: 0\r\n\r", endsWell, gateway, "", "9112, 8"},
		{"a reset within the head", head + "Content-Le", resetsIt, gateway, "", "9112, 8"},
		{"HTTP/0.9", "<html>hello</html>", endsWell, gateway, "", "9112, 4"},
		{"binary garbage", "\x00\x01\x02\xff\xfe", staysOpen, gateway, "", "9112, 4"},
		{"TLS", "\x15\x03\x01\x00\x02\x02\x16", staysOpen, gateway, "", "9112, 4"},
		{"HTTP/2", "\x00\x00\x12\x04\x00\x00\x00\x00\x00", staysOpen, gateway, "", "9112, 4"},
		{"SSH", "SSH-2.0-OpenSSH_9.2\r\n", staysOpen, gateway, "", "9112, 4"},
		{"a head that is too large", head + "A: " + strings.Repeat("y", 2<<20) + "\r\n\r\n", staysOpen, gateway, "", "9110, 5.4"},
		{"too many fields", head + strings.Repeat("A: b\r\n", 20000) + "\r\n", staysOpen, gateway, "", "9110, 5.4"},
		{"a reason without end", "HTTP/1.1 200 " + strings.Repeat("y", 2<<20), staysOpen, gateway, "", "9112, 4"},
		{"many informational responses", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", maxInformational+1) + head + "Content-Length: 0\r\n\r\n", staysOpen, gateway, "", "9110, 15.2"},
		{"many unasked 100s", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", maxInformational+1) + head + "Content-Length: 0\r\n\r\n", staysOpen, gateway, "", "9110, 15.2.1"},
		{"an informational response with a length", "HTTP/1.1 103 x\r\nContent-Length: 2\r\n\r\nok", staysOpen, gateway, "", "9110, 8.6"},
		{"only informational responses", "HTTP/1.1 102 x\r\n\r\n", endsWell, gateway, "", "9110, 15.2"},
		{"101 unasked", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframes", staysOpen, gateway, "", "9110, 7.8"},
		{"101 without a protocol", "HTTP/1.1 101 Switching Protocols\r\n\r\nframes", staysOpen, gateway, "", "9110, 15.2.2"},
		{"both framings", head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", staysOpen, gateway, "", "9112, 6.1"},
		{"both framings, the other way round", head + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", staysOpen, gateway, "", "9112, 6.1"},
		{"two lengths", head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", staysOpen, gateway, "", "9112, 6.3"},
		{"one length twice", head + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", staysOpen, gateway, "", "9112, 6.3"},
		{"a list of lengths", head + "Content-Length: 5, 5\r\n\r\nhello", staysOpen, gateway, "", "9112, 6.3"},
		{"a negative length", head + "Content-Length: -1\r\n\r\n", staysOpen, gateway, "", "9110, 8.6"},
		{"a length beyond all bounds", head + "Content-Length: 99999999999999999999\r\n\r\n", staysOpen, gateway, "", "9110, 8.6"},
		{"an empty length", head + "Content-Length:\r\n\r\n", staysOpen, gateway, "", "9110, 8.6"},
		{"a bare LF behind the status line", "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok", staysOpen, gateway, "", "9112, 2.2"},
		{"bare LFs", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", staysOpen, gateway, "", "9112, 2.2"},
		{"a bare CR in a value", head + "A: b\rC: d\r\nContent-Length: 2\r\n\r\nok", staysOpen, gateway, "", "9112, 2.2"},
		{"a folded field", head + "A: b\r\n c\r\nContent-Length: 2\r\n\r\nok", staysOpen, gateway, "", "9112, 5.2"},
		{"a folded framing", head + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", staysOpen, gateway, "", "9112, 5.2"},
		{"a field before the fields", head + " A: b\r\nContent-Length: 2\r\n\r\nok", staysOpen, gateway, "", "9112, 2.2"},
		{"blanks before the colon of a length", head + "Content-Length : 2\r\n\r\nok", staysOpen, gateway, "", "9112, 5.1"},
		{"a NUL in a value", head + "A: \x00\r\nContent-Length: 2\r\n\r\nok", staysOpen, gateway, "", "9110, 5.5"},
		{"HTTP/1.0 with chunks", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", staysOpen, gateway, "", "9112, 6.1"},
		{"an empty line before the response", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", staysOpen, gateway, "", "9112, 4"},
		{"a body that ends early", head + "Content-Length: 5\r\n\r\nhell", endsWell, broken, "hell", "9112, 8"},
		{"a body that never begins", head + "Content-Length: 5\r\n\r\n", endsWell, gateway, "", "9112, 8"},
		{"a body that is reset", head + "Content-Length: 400000\r\n\r\n" + long, resetsIt, broken, long, "9112, 8"},
		{"chunks that end early", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", endsWell, broken, "hello", "9112, 8"},
		{"a chunk that ends early", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhell", endsWell, broken, "hell", "9112, 8"},
		{"chunks without the last empty line", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", endsWell, broken, "hello", "9112, 8"},
		{"a bad chunk behind a good one", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", staysOpen, broken, "hello", "9112, 7.1"},
		{"a bad trailer", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA b: c\r\n\r\n", staysOpen, broken, "hello", "9112, 7.1.2"},
		{"trailers that are too large", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: " + strings.Repeat("y", 1<<20) + "\r\n\r\n", staysOpen, broken, "hello", "9112, 7.1.2"},
		{"chunk extensions without end", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;" + strings.Repeat("y", 1<<20), staysOpen, broken, "hello", "9112, 7.1.1"},
		{"bytes behind the body", head + "Content-Length: 2\r\n\r\nokmore", staysOpen, whole, "ok", "9112, 6.3"},
		{"another answer behind the body", head + "Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", staysOpen, whole, "ok", "9112, 9.2"},
		{"another answer behind chunks", head + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", staysOpen, whole, "ok", "9112, 9.2"},
		{"an end behind an answer that promised more", head + "Content-Length: 2\r\n\r\nok", endsWell, whole, "ok", "9112, 9.6"},
		{"a reset behind the body", head + "Content-Length: 2\r\n\r\nok", resetsIt, whole, "ok", "9112, 9.6"},
		{"a body behind 204", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", staysOpen, whole, "", "9112, 6.3"},
		{"a body behind 304", "HTTP/1.1 304 Not Modified\r\n\r\nok", staysOpen, whole, "", "9112, 6.3"},
		{"chunks behind 204", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", staysOpen, whole, "", "9112, 6.1"},
		{"a body until the close", head + "\r\nuntil", endsWell, whole, "until", "9112, 6.3"},
		{"HTTP/1.0 until the close", "HTTP/1.0 200 OK\r\n\r\nuntil", endsWell, whole, "until", "9112, 9.3"},
		{"a close that is told of", head + "Connection: close\r\nContent-Length: 2\r\n\r\nok", staysOpen, whole, "ok", "9112, 9.6"},
	} {
		l.backend.text.Store(&k.text)
		l.backend.after.Store(k.after)
		text, closed := l.told(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		final := text
		for strings.HasPrefix(final, "HTTP/1.1 1") { // those that were not too many yet
			_, final, _ = strings.Cut(final, "\r\n\r\n")
		}
		p, err := http.ReadResponse(bufio.NewReader(strings.NewReader(final)), nil)
		var body []byte
		if err == nil {
			body, err = io.ReadAll(p.Body)
		}
		switch k.want {
		case gateway:
			if !told502(final) {
				t.Errorf("%s: the client is told %.300q, want 502 (RFC %s)", k.name, text, k.rfc)
			}
		case broken:
			if told502(final) && len(k.body) < 10 {
				break // what began with the head may be held back until it is seen to be bad
			}
			if err == nil || !closed || !strings.HasPrefix(k.body, string(body)) || k.after != resetsIt && string(body) != k.body {
				t.Errorf("%s: the client is told %.300q, closed: %v, reads %.100q, %v; want what breaks off (RFC %s)", k.name, text, closed, body, err, k.rfc)
			}
		case whole:
			if err != nil || string(body) != k.body {
				t.Errorf("%s: the client is told %.300q, reads %q, %v, want %q (RFC %s)", k.name, text, body, err, k.body, k.rfc)
			}
		}
		if l.reuses(t) {
			t.Errorf("%s: the backend's connection is used again (RFC %s)", k.name, k.rfc)
		}
	}
}

// A response to HTTP/1.0 whose end is the close must not end well if the backend broke off.
func TestEngineResetsWhatAnOldClientWouldTakeForWhole(t *testing.T) {
	ofEngine(t)
	t.Parallel()
	l := newLies(t)
	text := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
	l.backend.text.Store(&text)
	l.backend.after.Store(endsWell)
	_, r := dialTo(t, l.addr, "GET / HTTP/1.0\r\nHost: x\r\n\r\n")
	if b, err := io.ReadAll(r); err == nil && len(b) > 0 && !told502(string(b)) {
		t.Errorf("the client reads %q, and takes it for whole", b)
	}
}
