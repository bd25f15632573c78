package proxy

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// fault is what a backend is told to do about one request, in a field of it.
type fault struct {
	// Framing of the answer: "sized", "chunked", "close", "old" for HTTP/1.0, "none" for 204.
	Framing string
	// Size is how often the request's path is repeated as content.
	Size int
	// Cut is where the answer breaks off, in thousandths of it; 1000 for nowhere.
	Cut int
	// End is what follows: "" for the next request, "end" or "reset".
	End string
	// Lie is what is wrong besides: see [unfaithful].
	Lie string
	// Early answers before the request's body was read.
	Early bool
}

// right reports whether nothing is wrong. A reset takes back what is on its way.
func (f *fault) right() bool { return f.Cut == 1000 && f.Lie == "" && f.End != "reset" }

// unfaithful is what a backend sends for a fault.
func unfaithful(f *fault, path string) string {
	content := strings.Repeat(path, f.Size)
	id := "X-Id: " + path + "\r\n"
	text := ""
	switch f.Framing {
	case "sized":
		text = fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", id, len(content), content)
	case "chunked":
		text = "HTTP/1.1 200 OK\r\n" + id + "Transfer-Encoding: chunked\r\n\r\n"
		for rest := content; rest != ""; {
			n := min(len(rest), 1000)
			text += fmt.Sprintf("%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		text += "0\r\n\r\n"
	case "close":
		text = "HTTP/1.1 200 OK\r\n" + id + "Connection: close\r\n\r\n" + content
	case "old":
		text = fmt.Sprintf("HTTP/1.0 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", id, len(content), content)
	case "none":
		text = "HTTP/1.1 204 No Content\r\n" + id + "\r\n"
	}
	switch f.Lie {
	case "garbage":
		return "\x00\x01garbage\r\n\r\n"
	case "hints":
		return "HTTP/1.1 103 Early Hints\r\n" + id + "\r\n" + text
	case "twice": // in one write: what comes behind the next request is that one's answer for everybody
		return text + text
	case "behind":
		return text + "and more"
	case "both":
		return strings.Replace(text, "\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 1)
	case "switch":
		return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" + text
	case "large head":
		return "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 2<<20) + "\r\n" + text
	case "bad chunk":
		return "HTTP/1.1 200 OK\r\n" + id + "Transfer-Encoding: chunked\r\n\r\n1\r\n" + path[:1] + "\r\nzz\r\n" + text
	}
	return text
}

// serveUnfaithfully is a backend that does what requests tell it.
func serveUnfaithfully(c *net.TCPConn, r *bufio.Reader) {
	for {
		q, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		var f fault
		plain, _ := url.QueryUnescape(q.Header.Get("X-Fault"))
		if json.Unmarshal([]byte(plain), &f) != nil {
			return
		}
		if !f.Early {
			if _, err := io.Copy(io.Discard, q.Body); err != nil {
				return
			}
		}
		text := unfaithful(&f, q.URL.Path)
		if _, err := io.WriteString(c, text[:len(text)*f.Cut/1000]); err != nil {
			return
		}
		switch {
		case f.End == "reset":
			c.SetLinger(0)
			return
		case f.End == "end", f.Cut < 1000, f.Framing == "close", f.Framing == "old":
			return
		}
		if f.Early { // the rest of the body is what comes next
			if _, err := io.Copy(io.Discard, q.Body); err != nil {
				return
			}
		}
	}
}

// manner is how a client asks.
type manner struct {
	fault
	Body    int
	Chunked bool
	// Leave is how many bytes of the answer a client takes before it leaves, -1 for all. Half has it stop in its request.
	Leave int
	Half  bool
}

func (m *manner) text(path string) string {
	b, _ := json.Marshal(&m.fault)
	head := "GET " + path + " HTTP/1.1\r\nHost: x\r\nX-Fault: " + url.QueryEscape(string(b)) + "\r\n"
	body := strings.Repeat("b", m.Body)
	switch {
	case m.Body == 0:
		return head + "\r\n"
	case m.Chunked:
		return "POST" + head[3:] + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", m.Body, body)
	}
	return "POST" + head[3:] + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", m.Body, body)
}

func drawManner(rt *rapid.T) manner {
	m := manner{Leave: -1}
	m.Framing = rapid.SampledFrom([]string{"sized", "sized", "chunked", "close", "old", "none"}).Draw(rt, "framing")
	m.Size = rapid.SampledFrom([]int{0, 1, 20, 5000, 40000}).Draw(rt, "size")
	m.Cut = 1000
	if rapid.IntRange(0, 2).Draw(rt, "faulty") == 0 {
		m.Cut = rapid.IntRange(0, 1000).Draw(rt, "cut")
		m.Lie = rapid.SampledFrom([]string{"", "", "garbage", "hints", "twice", "behind", "both", "switch", "large head", "bad chunk"}).Draw(rt, "lie")
		if m.Lie != "" && rapid.Bool().Draw(rt, "entire") {
			m.Cut = 1000
		}
	}
	if m.Framing == "close" && (m.Lie == "twice" || m.Lie == "behind") {
		m.Lie = "" // that would be its content
	}
	m.End = rapid.SampledFrom([]string{"", "", "", "end", "reset"}).Draw(rt, "end")
	m.Body = rapid.SampledFrom([]int{0, 0, 0, 1, 1000, 100_000}).Draw(rt, "body")
	m.Chunked = rapid.Bool().Draw(rt, "chunked")
	m.Early = m.Body > 0 && rapid.IntRange(0, 3).Draw(rt, "early") == 0
	if rapid.IntRange(0, 9).Draw(rt, "leaves") == 0 {
		m.Leave = rapid.SampledFrom([]int{0, 1, 30, 1000, 60_000}).Draw(rt, "leave")
	}
	m.Half = rapid.IntRange(0, 19).Draw(rt, "half") == 0
	return m
}

// unfaithfulClient asks all on one connection, one after another or at once, and checks what it is told.
func unfaithfulClient(t *testing.T, addr string, asks []manner, pipelined bool, number *atomic.Int64) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	paths, texts := make([]string, len(asks)), make([]string, len(asks))
	for i := range asks {
		paths[i] = fmt.Sprintf("/n%d.", number.Add(1))
		texts[i] = asks[i].text(paths[i])
		if asks[i].Half {
			texts[i] = texts[i][:len(texts[i])*2/3]
		}
	}
	var sending sync.WaitGroup
	defer sending.Wait()
	defer c.Close()
	if pipelined {
		sending.Go(func() { io.WriteString(c, strings.Join(texts, "")) })
	}
	for i := range asks {
		if !pipelined {
			sending.Wait()
			sending.Go(func() { io.WriteString(c, texts[i]) })
		}
		// A connection that ends before all requests were read takes back what the client has not read.
		spoiled := pipelined && slices.ContainsFunc(asks[i+1:], func(m manner) bool { return !m.right() || m.Half || m.Early })
		if asks[i].Half || !checkTold(t, c, r, &asks[i], paths[i], spoiled) {
			return
		}
	}
}

// checkTold checks what a client is told: its own answer, or an error of ours, or it sees the answer break off. It reports
// whether the connection goes on. What was asked after it may have spoiled that.
func checkTold(t *testing.T, c net.Conn, r *bufio.Reader, m *manner, path string, spoiled bool) bool {
	if m.Leave >= 0 {
		c.SetReadDeadline(time.Now().Add(5 * time.Millisecond)) // it does not wait for more than there is
		io.CopyN(io.Discard, r, int64(m.Leave))
		return false
	}
	var p *http.Response
	var err error
	for p == nil || p.StatusCode < 200 {
		if p, err = http.ReadResponse(r, nil); err != nil {
			break
		}
		if id := p.Header.Get("X-Id"); id != "" && id != path {
			t.Errorf("%s is told of %s: %+v", path, id, m)
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s is told nothing in time: %+v", path, m)
	}
	if err != nil {
		if m.right() && m.Body == 0 && !spoiled {
			t.Errorf("%s is told %v, though nothing is wrong: %+v", path, err, m)
		}
		return false
	}
	b, err := io.ReadAll(p.Body)
	switch own := strings.Repeat(path, m.Size); {
	case p.StatusCode == 200 || p.StatusCode == 204:
		if m.Lie == "bad chunk" {
			own = path[:1]
		}
		if p.StatusCode == 204 || m.Lie == "bad chunk" || m.Framing == "close" && m.Cut < 1000 { // its end is any end
			own = own[:min(len(own), len(b))]
		}
		if !strings.HasPrefix(own, string(b)) || err == nil && string(b) != own {
			t.Errorf("%s is told %.100q, %d bytes, %v: %+v", path, b, len(b), err, m)
		}
		if p.Header.Get("X-Id") != path && m.Lie != "large head" {
			t.Errorf("%s is told what nobody says it is: %v: %+v", path, p.Header, m)
		}
		if m.right() && m.Body == 0 && err != nil && !spoiled {
			t.Errorf("%s breaks off, though nothing is wrong: %v: %+v", path, err, m)
		}
	case p.StatusCode == 502 || p.StatusCode == 504:
		if err != nil || string(b) != "bad gateway\n" && string(b) != "gateway timeout\n" {
			t.Errorf("%s is told %q, %v as an error of ours: %+v", path, b, err, m)
		}
		if m.right() && m.Body == 0 {
			t.Errorf("%s is told %d, though nothing is wrong: %+v", path, p.StatusCode, m)
		}
	default:
		t.Errorf("%s is told %d: %+v", path, p.StatusCode, m)
	}
	return err == nil && !p.Close
}

// Clients, backends and faults in any order, and faults at every point of an answer: each client sees its own answer, a
// clean error, or one that breaks off; what is asked of a backend that does as it should is answered, whatever others do.
func TestEngineTellsEachClientItsOwnOrAnError(t *testing.T) {
	ofEngine(t)
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{rawBackend(t, serveUnfaithfully), rawBackend(t, serveUnfaithfully)})
	_, addr := startEngine(t, l, EngineOptions{})
	var number atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		var wg sync.WaitGroup
		for range rapid.IntRange(1, 5).Draw(rt, "clients") {
			asks := make([]manner, rapid.IntRange(1, 6).Draw(rt, "requests"))
			for i := range asks {
				asks[i] = drawManner(rt)
			}
			pipelined := rapid.Bool().Draw(rt, "pipelined")
			wg.Go(func() { unfaithfulClient(t, addr, asks, pipelined, &number) })
		}
		wg.Wait()
		if t.Failed() {
			rt.FailNow()
		}
	})
	l.settled()
	t.Logf("%d requests", number.Load())
}
