package proxy

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/proxy/upstream"
)

// call is what an attempt lends to the transport, which may go on using it for a while after the attempt: the request's
// body and the way back for informational responses. It is closed when the attempt is over, and gives nothing more.
type call struct {
	url   url.URL
	trace httptrace.ClientTrace

	src    io.Reader
	length int64         // -1 if unknown
	expect bool          // the client waits for 100
	idle   time.Duration // how long the client may send nothing, 0 for ever
	timer  *time.Timer   // of idle; used by the body's reader

	// mu guards what follows.
	mu       sync.Mutex
	control  *http.ResponseController // nil without a body, and when the exchange has ended
	closed   bool
	started  bool          // something was asked of src
	reading  bool          // a read of src is under way
	back     chan struct{} // if not nil, to be closed when that read has come back
	complete bool          // the body was read to its end
	n        int64
	err      error    // of src
	conn     net.Conn // to the backend, where the transport does not repeat the request itself
	reused   bool     // conn comes from the pool

	// infoMu guards what follows, and the writing of informational responses.
	infoMu   sync.Mutex
	w        http.ResponseWriter // nil once the final response may be written
	interim  int                 // how many informational responses have come
	informed int                 // how many of them have gone out
}

// newCall returns the call of an attempt for a client's request.
func newCall(w http.ResponseWriter, r *http.Request) *call {
	c := &call{src: r.Body, length: r.ContentLength, w: w}
	c.complete = r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0
	c.expect = r.ProtoMajor == 1 && !c.complete && r.Header.Get("Expect") != ""
	if !c.complete {
		c.control = http.NewResponseController(w)
	}
	if !c.complete || !repeated(r.Method) {
		c.trace.GotConn = c.lend
	}
	if r.ProtoMajor > 1 || r.ProtoMinor > 0 { // RFC 9110, 15.2: none to HTTP/1.0
		c.trace.Got1xxResponse = c.inform
	}
	return c
}

// repeated reports whether the transport itself sends a request without a body again whose pooled connection is found to
// be closed.
func repeated(method string) bool {
	return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "TRACE"
}

func (c *call) lend(info httptrace.GotConnInfo) {
	c.mu.Lock()
	c.conn, c.reused = info.Conn, info.Reused
	c.mu.Unlock()
	upstream.Lend(info, c.interrupt)
}

// unsent reports whether it is known that nothing was written to the backend, and on a pooled connection.
func (c *call) unsent() (known, reused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil && upstream.Unsent(c.conn), c.reused
}

func (c *call) hasBody() bool { return c.length != 0 && c.src != nil && c.src != http.NoBody }

// Read reads the client's body, as long as the attempt lasts.
func (c *call) Read(p []byte) (int, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	}
	first := !c.started
	c.started, c.reading = true, true
	bounded := c.idle > 0 && c.control != nil
	c.mu.Unlock()
	n, err := 0, error(nil)
	if !first || !c.expect || c.sendContinue() {
		if bounded {
			c.begin()
		}
		n, err = c.src.Read(p)
		if bounded {
			c.timer.Stop()
		}
	} else {
		err = http.ErrBodyReadAfterClose
	}
	c.mu.Lock()
	c.reading = false
	if c.back != nil {
		close(c.back)
		c.back = nil
	}
	c.n += int64(n)
	switch {
	case err == io.EOF || c.n == c.length:
		c.complete = true
	case err != nil && c.err == nil && !c.closed:
		c.err = err
	}
	c.mu.Unlock()
	return n, err
}

// begin bounds a wait for the client.
func (c *call) begin() {
	if c.timer == nil {
		c.timer = time.AfterFunc(c.idle, c.expire)
	} else {
		c.timer.Reset(c.idle)
	}
}

// expire is run by the timer.
func (c *call) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading && c.control != nil {
		c.control.SetReadDeadline(longAgo)
	}
}

// Close ends reading. The client's body itself stays open, for another attempt or for net/http.
func (c *call) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return nil
}

// stallGrace is how long a client that sends nothing is waited for once its request can come to nothing.
const stallGrace = 250 * time.Millisecond

// interrupt is called when the connection to the backend has been closed. Until the body's reader comes back nobody
// learns of that; and it may be waiting for a client that sends nothing. So it is given a last moment.
func (c *call) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.reading && !c.complete && c.control != nil {
		c.control.SetReadDeadline(time.Now().Add(stallGrace))
	}
}

// sendContinue tells the client to send its body. It reports false if the final response goes out already: the client
// need not send anything then. Net/http would send the 100 by itself, but perhaps into an informational response that
// is being written at that moment.
func (c *call) sendContinue() bool {
	c.infoMu.Lock()
	defer c.infoMu.Unlock()
	if c.w == nil {
		return false
	}
	c.w.WriteHeader(http.StatusContinue)
	return true
}

// maxInformational is how many informational responses an attempt may have. A backend that tells of its progress sends
// one every few seconds.
const maxInformational = 1000

var errInformational = fmt.Errorf("more than %d informational responses", maxInformational)

// inform passes an informational response on. 100 is each side's own.
func (c *call) inform(code int, header textproto.MIMEHeader) error {
	c.infoMu.Lock()
	defer c.infoMu.Unlock()
	if c.interim++; c.interim > maxInformational {
		return errInformational
	}
	if c.w == nil || code == http.StatusContinue {
		return nil
	}
	h := c.w.Header()
	maps.Copy(h, http.Header(header))
	removeHopByHop(h)
	h.Del("Content-Length")
	c.w.WriteHeader(code)
	clear(h)
	c.informed++
	return nil
}

// endInformational waits for an informational response that is being written, and lets no more through.
func (c *call) endInformational() {
	c.infoMu.Lock()
	c.w = nil
	c.infoMu.Unlock()
}

// untouched reports whether nothing of the body was read and nothing of a response has gone out. The call must be
// closed and its informational responses ended.
func (c *call) untouched() bool {
	c.infoMu.Lock()
	informed := c.informed > 0
	c.infoMu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	return !informed && !c.started
}

func (c *call) isComplete() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.complete
}

// end ends the use of the client's connection, which net/http must not see used once the exchange has ended. It returns a
// channel that is closed when the read of the body that is under way has come back, nil if there is none, and reports
// whether the body was read to its end.
func (c *call) end() (back <-chan struct{}, complete bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.control = true, nil
	if c.reading {
		c.back = make(chan struct{})
		back = c.back
	}
	return back, c.complete
}

// isBetween reports whether the body was begun and not read to its end.
func (c *call) isBetween() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.started && !c.complete
}

func (c *call) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *call) count() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}
