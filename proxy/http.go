package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/proxy/upstream"
	"github.com/vietddude/load-balancer/routing"
)

// ServeHTTP carries an exchange that net/http read, by HTTP/1.1 or HTTP/2. A server in front of it needs
// DisableGeneralOptionsHandler for "OPTIONS *" to pass. If the response breaks off, or the client has left, it panics
// with [http.ErrAbortHandler], as net/http asks for.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := httpExchanges.Get().(*httpExchange)
	x.exchange.p, x.exchange.d = p, &x.door
	x.door.p, x.door.w, x.door.r = p, w, r
	x.door.describe(&x.exchange.req)
	x.exchange.upgradable = r.ProtoMajor == 1 && r.ProtoMinor == 1
	k := x.exchange.run()
	broken := k != fine && !x.door.hijacked && (x.door.headOut || k == clientGone)
	broken = x.door.finish() || broken
	x.exchange.reset()
	httpExchanges.Put(x)
	if broken {
		panic(http.ErrAbortHandler)
	}
}

// httpExchange is an exchange and its door, which are used again together.
type httpExchange struct {
	exchange exchange
	door     httpDoor
}

var httpExchanges = sync.Pool{New: func() any { return new(httpExchange) }}

// httpDoor is the door for net/http.
type httpDoor struct {
	p *Proxy
	w http.ResponseWriter
	r *http.Request

	out  http.Header
	call *call // of the latest attempt
	resp *http.Response
	// hedge is nil for an attempt that may have no second one beside it; cancelCall, which ends the call, is nil then too.
	hedge      *httpHedge
	cancelCall context.CancelFunc

	// ctx is the request's, or one that ends with the exchange's deadline.
	ctx     context.Context
	cancel  context.CancelFunc // nil without a deadline
	unwatch func() bool        // ends watch, if it began; false if it struck

	waits routing.Timeouts
	idle  backendTimer // of the latest attempt
	taker *clientTimer // nil before the first write that is bounded

	head      headTimer
	first     first
	announced []string // trailers of resp
	written   int64
	fromPeer  int64 // what came from the client through a tunnel
	headOut   bool  // the final response's head was given to net/http
	hijacked  bool
}

var _ door = (*httpDoor)(nil)

// describe fills in the exchange's view of the request.
func (d *httpDoor) describe(q *request) {
	r := d.r
	q.Host, q.Path, q.Method, q.Header = r.Host, r.URL.Path, r.Method, r.Header
	if q.Path == "" || q.Path == "*" {
		q.Path = "/"
	}
	q.Target, q.Proto = r.RequestURI, r.Proto
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		q.Peer = ap.Addr().Unmap().WithZone("")
	}
	if r.TLS != nil {
		q.TLS = tls.VersionName(r.TLS.Version)
	}
	q.Bodiless = r.ContentLength == 0
}

func (d *httpDoor) outgoing() fields {
	if d.out == nil {
		d.out = make(http.Header, len(d.r.Header)+6)
		for k, v := range d.r.Header {
			if !disguised(k) {
				d.out[k] = v
			}
		}
		if _, ok := d.out["User-Agent"]; !ok {
			d.out["User-Agent"] = nil // else the transport adds its own
		}
	}
	return d.out
}

func (d *httpDoor) incoming() fields { return d.resp.Header }

func (d *httpDoor) gone() <-chan struct{} { return d.r.Context().Done() }

func (d *httpDoor) again() bool { return d.call == nil || d.call.untouched() }

func (d *httpDoor) transferred() (in, out int64) {
	if d.hijacked || d.call == nil {
		return d.fromPeer, d.written
	}
	return d.call.count(), d.written
}

// maxStale is how many pooled connections may be found closed before all idle ones are given up.
const maxStale = 2

func (d *httpDoor) try(a *attempt) {
	d.armHedge(a)
	resp, err := d.send(a)
	for n := 1; err != nil && d.isStale() && n <= maxStale; n++ {
		if n == maxStale {
			d.p.opts.Upstream.CloseIdleTo(a.backend.State)
		}
		resp, err = d.send(a)
	}
	d.resp = d.understand(a, d.call, resp, err)
	if d.hedge != nil {
		d.hedge.decide(a)
	}
}

// understand takes what a call gave as the attempt's outcome, and returns the response if there is one.
func (d *httpDoor) understand(a *attempt, c *call, resp *http.Response, err *upstream.Error) *http.Response {
	switch {
	case err != nil:
		unsent, _ := c.unsent()
		a.kind, a.sent, a.err = d.explain(err, c), err.Sent && !unsent, err.Err
	case resp.StatusCode < 200 && resp.StatusCode != 101:
		c.Close()
		resp.Body.Close()
		a.kind, a.sent, a.err = backendMalformed, true, errors.New("a status of "+strconv.Itoa(resp.StatusCode))
	case resp.StatusCode == 101 && !c.isComplete():
		// The rest of the body would be read by two: as a body, and as what goes through the tunnel.
		c.Close()
		resp.Body.Close()
		a.kind, a.sent, a.err = backendMalformed, true, errors.New("a switch of protocols before the request was complete")
	default:
		a.status = resp.StatusCode
		return resp
	}
	return nil
}

// answerOf makes a second attempt by a call of its own.
func (d *httpDoor) answerOf(a *attempt, ctx context.Context, c *call, idle *backendTimer) *http.Response {
	resp, err := d.roundTrip(a, idle.watch(ctx, a.policy.Timeouts.BackendIdle), c)
	return d.understand(a, c, resp, err)
}

// isStale reports whether the call failed because its pooled connection was closed before anything was sent: the request
// goes out again, to the same backend.
func (d *httpDoor) isStale() bool {
	unsent, reused := d.call.unsent()
	return unsent && reused && d.call.untouched() && d.context(time.Time{}).Err() == nil
}

// send makes a call to the backend.
func (d *httpDoor) send(a *attempt) (*http.Response, *upstream.Error) {
	d.drop()
	d.waits = a.policy.Timeouts
	c := newCall(d.w, d.r)
	c.idle = d.waits.ClientIdle
	d.call = c
	ctx := d.context(a.deadline)
	if d.hedge != nil {
		ctx, d.cancelCall = d.hedge.watch(ctx, c)
	}
	return d.roundTrip(a, d.idle.watch(ctx, d.waits.BackendIdle), c)
}

// roundTrip makes a call. It only reads what is the door's.
func (d *httpDoor) roundTrip(a *attempt, ctx context.Context, c *call) (*http.Response, *upstream.Error) {
	if a.policy.ProxyProtocol != 0 {
		ctx = upstream.WithEnds(ctx, d.ends())
	}
	r := d.r.WithContext(httptrace.WithClientTrace(ctx, &c.trace))
	c.url = requestURL(a.target)
	r.URL, r.RequestURI, r.Header, r.Host = &c.url, "", d.out, d.r.Host
	r.Proto, r.ProtoMajor, r.ProtoMinor, r.Close, r.TransferEncoding = "HTTP/1.1", 1, 1, false, nil
	r.Body, r.GetBody = c, nil
	if !c.hasBody() {
		r.Body = http.NoBody
	}
	r.Trailer = d.trailer()
	resp, err := d.p.opts.Upstream.RoundTrip(r, a.backend.State, a.policy)
	c.endInformational()
	if err != nil {
		c.Close()
	}
	return resp, err
}

// ends are those of the client's connection.
func (d *httpDoor) ends() (e upstream.Ends) {
	e.Client, _ = netip.ParseAddrPort(d.r.RemoteAddr)
	if a, ok := d.r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		e.Local = a.AddrPort()
	}
	return e
}

// trailer is where the client's trailers appear at the end of its body, announced or not.
func (d *httpDoor) trailer() http.Header {
	if d.r.Trailer == nil && d.r.ContentLength < 0 {
		d.r.Trailer = make(http.Header)
	}
	return d.r.Trailer
}

// requestURL is the URL that net/http writes as this target. Taken as opaque it goes out as it is, but for two leading
// slashes, which would be an authority there; such a path is escaped anew if it holds what a URL may not.
func requestURL(target string) url.URL {
	if !strings.HasPrefix(target, "//") {
		return url.URL{Opaque: target}
	}
	path, query, has := strings.Cut(target, "?")
	u := url.URL{Path: path, RawPath: path, RawQuery: query, ForceQuery: has && query == ""}
	if plain, err := url.PathUnescape(path); err == nil {
		u.Path = plain
	}
	return u
}

// context is the context of attempts.
func (d *httpDoor) context(deadline time.Time) context.Context {
	if d.ctx == nil {
		d.ctx = d.r.Context()
		if !deadline.IsZero() {
			d.ctx, d.cancel = context.WithDeadline(d.ctx, deadline)
		}
	}
	return d.ctx
}

// watch has writing to the client fail once the exchange's deadline has passed.
func (d *httpDoor) watch() {
	if d.cancel == nil {
		return
	}
	control := http.NewResponseController(d.w)
	d.unwatch = context.AfterFunc(d.ctx, func() { control.SetWriteDeadline(longAgo) })
}

// longAgo as a deadline wakes whoever waits.
var longAgo = time.Unix(1, 0)

// explain finds the kind of a failed attempt. That the request's context has ended proves nothing of the client: a read
// that was interrupted has net/http end it too.
func (d *httpDoor) explain(err *upstream.Error, c *call) kind {
	if timedOut(d.ctx) {
		if !c.isComplete() {
			return bodyTimeout
		}
		return exchangeTimeout
	}
	if cause := c.failure(); cause != nil {
		return bodyKind(cause, d.r.ProtoMajor)
	}
	return kindOf(err.Kind)
}

func timedOut(ctx context.Context) bool { return errors.Is(ctx.Err(), context.DeadlineExceeded) }

// bodyKind is the kind of a request's body that could not be read.
func bodyKind(err error, proto int) kind {
	var tooLarge *http.MaxBytesError
	var network net.Error
	switch {
	case errors.As(err, &tooLarge):
		return bodyTooLarge
	case errors.As(err, &network) && network.Timeout():
		return bodyTimeout
	case errors.As(err, &network), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), proto != 1:
		return clientGone
	}
	return badRequest
}

func (d *httpDoor) answer(status int, text string, retryAfter int) {
	d.drop()
	h := d.w.Header()
	clear(h)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	if retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	if d.call != nil && d.call.isBetween() {
		d.closeAfter(h)
	}
	d.w.WriteHeader(status)
	if d.r.Method != "HEAD" {
		n, _ := io.WriteString(d.w, text+"\n")
		d.written = int64(n)
	}
}

// drop gives up the response that try gave and nobody relays.
func (d *httpDoor) drop() {
	if d.first.buf != nil {
		copyBuffers.Put(d.first.buf)
		d.first = first{}
	}
	if d.resp != nil {
		d.resp.Body.Close()
		d.resp, d.announced = nil, nil
	}
	d.idle.end()
	if d.call != nil {
		d.call.Close()
	}
	if d.cancelCall != nil {
		d.cancelCall()
		d.cancelCall = nil
	}
}

// closeAfter prepares for a response that comes before the request was read to its end: net/http is not to wait for the
// rest, which a reader may be waiting for, and closes the client's connection afterwards.
func (d *httpDoor) closeAfter(h http.Header) {
	if d.r.ProtoMajor == 1 {
		h.Set("Connection", "close")
		http.NewResponseController(d.w).EnableFullDuplex()
	}
}

// finish lets go of all that the exchange holds. It reports whether the connection can no longer be used.
func (d *httpDoor) finish() (broken bool) {
	d.drop()
	if d.taker != nil {
		d.taker.end()
	}
	if d.unwatch != nil {
		broken = !d.unwatch() && !d.hijacked
	}
	if d.cancel != nil {
		d.cancel()
	}
	d.endRequest()
	*d = httpDoor{head: d.head}
	return broken
}

// unreadGrace is how long a client may take to send the rest of a request that is answered already.
const unreadGrace = 5 * time.Second

// endRequest bounds the time for which net/http waits for the rest of a request that was not read to its end: before it
// sends a head that it still holds, so that the connection may be used again, and before it closes the connection.
func (d *httpDoor) endRequest() {
	var back <-chan struct{}
	complete := d.r.Body == nil || d.r.Body == http.NoBody || d.r.ContentLength == 0
	if d.call != nil {
		back, complete = d.call.end()
	}
	switch {
	case complete || d.hijacked:
	case back != nil:
		// Net/http would stop a read that is under way by itself, and then forget the deadline.
		if http.NewResponseController(d.w).SetReadDeadline(longAgo) == nil {
			<-back
		}
	case d.r.ProtoMajor == 1: // HTTP/2 resets the stream
		http.NewResponseController(d.w).SetReadDeadline(time.Now().Add(d.p.unreadGrace))
	}
}
