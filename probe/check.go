package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxHead = 64 << 10  // of a response, 1xx included
	maxBody = 256 << 10 // what is read of a body; a longer one costs the connection
	max1xx  = 8         // informational responses before the final one
)

// keepIdle is the longest interval for which a connection is kept from probe to probe. Few servers would keep it longer.
const keepIdle = time.Minute

// checker makes single probes. It may be used concurrently, for different targets.
type checker struct {
	dial      func(ctx context.Context, network, address string) (net.Conn, error)
	userAgent string
	tls       tlsConfigs
	plans     plans
}

// where is the address that a target is probed at.
type where struct {
	address string // host:port
	host    string // without the port
	secure  bool
}

// locate reads the target's address.
func (t *target) locate() (where, error) {
	u, err := url.Parse(t.URL)
	if err != nil {
		return where{}, fmt.Errorf("the backend's address %q cannot be probed: %w", t.URL, err)
	}
	w := where{address: u.Host, host: u.Hostname(), secure: u.Scheme == "https"}
	if t.Options.Port != 0 {
		w.address = net.JoinHostPort(w.host, strconv.Itoa(t.Options.Port))
	}
	if s := t.Options.Scheme; s != "" {
		w.secure = s == "https"
	}
	return w, nil
}

func (w *where) url(path string) string {
	if w.secure {
		return "https://" + w.address + path
	}
	return "http://" + w.address + path
}

// authority is the address as it is named to an http server: without a default port.
func (w *where) authority() string {
	port := ":80"
	if w.secure {
		port = ":443"
	}
	return strings.TrimSuffix(w.address, port)
}

// check probes a target once, within the context.
func (c *checker) check(ctx context.Context, t *target) error {
	at, err := t.locate()
	if err != nil {
		return err
	}
	plan, err := c.plans.get(&t.Options, c.userAgent)
	if err != nil {
		return err
	}
	switch t.Options.Type {
	case TCP:
		return c.tcp(ctx, t, &at)
	case HTTP, "":
		return c.kept(ctx, t, &at, &httpCheck{plan: plan, at: &at})
	case GRPC:
		return c.kept(ctx, t, &at, &grpcCheck{plan: plan, at: &at, service: t.Options.GRPCService, userAgent: c.userAgent})
	}
	return fmt.Errorf("unknown probe type %q, want %s, %s or %s", t.Options.Type, HTTP, TCP, GRPC)
}

func (c *checker) tcp(ctx context.Context, t *target, at *where) error {
	conn, err := c.dial(ctx, "tcp", at.address)
	if err != nil {
		return explain("connect "+at.address, "no connection", ctx, t, err)
	}
	conn.Close()
	return nil
}

// protocol is what is said on a connection to probe a target.
type protocol interface {
	// what says what is asked, for people.
	what() string
	// next is the protocol for ALPN, empty for none.
	next() string
	// wrap makes a new connection one that exchange can use again and again.
	wrap(net.Conn) net.Conn
	// exchange asks, judges the answer, and reports whether the connection can carry another exchange. Its error is
	// errStale where a reused connection was closed by the other side before it answered.
	exchange(ctx context.Context, conn net.Conn, reused bool) (keep bool, err error)
}

// errStale says that a reused connection was closed by the other side before it answered.
var errStale = errors.New("the idle connection was closed")

// kept probes over the connection of the last probe, or over a new one that is kept for the next.
func (c *checker) kept(ctx context.Context, t *target, at *where, p protocol) error {
	if conn := t.conn; conn != nil {
		t.conn = nil
		keep, err := within(ctx, conn, func() (bool, error) { return p.exchange(ctx, conn, true) })
		if !errors.Is(err, errStale) {
			return c.settle(ctx, t, conn, keep, p, err)
		}
		conn.Close() // the server had closed it: that says nothing about its health
	}
	conn, missing, err := c.connect(ctx, t, at, p.next())
	if err != nil {
		return explain(p.what(), missing, ctx, t, err)
	}
	conn = p.wrap(conn)
	keep, err := within(ctx, conn, func() (bool, error) { return p.exchange(ctx, conn, false) })
	return c.settle(ctx, t, conn, keep, p, err)
}

// connect makes a connection, and says what was missing if it could not.
func (c *checker) connect(ctx context.Context, t *target, at *where, next string) (conn net.Conn, missing string, err error) {
	var config *tls.Config
	if at.secure {
		if config, err = c.tls.get(t.TLS, at.host, next); err != nil {
			return nil, "no TLS configuration", err
		}
	}
	if conn, err = c.dial(ctx, "tcp", at.address); err != nil {
		return nil, "no connection", err
	}
	if config == nil {
		return conn, "", nil
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, "TLS handshake not finished", err
	}
	return secured, "", nil
}

// within has the connection's reads and writes fail when the context ends.
func within(ctx context.Context, conn net.Conn, f func() (keep bool, err error)) (keep bool, err error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	keep, err = f()
	if !stop() {
		keep = false // the deadline has been set, or will be
	}
	return keep, err
}

// settle keeps or closes a connection after its exchange.
func (c *checker) settle(ctx context.Context, t *target, conn net.Conn, keep bool, p protocol, err error) error {
	if keep && t.Options.Interval <= keepIdle {
		t.conn = conn
	} else {
		conn.Close()
	}
	if err != nil {
		return explain(p.what(), "no complete response", ctx, t, err)
	}
	return nil
}

// httpCheck is one http probe.
type httpCheck struct {
	plan *plan
	at   *where
}

func (h *httpCheck) what() string                { return h.plan.method + " " + h.at.url(h.plan.path) }
func (h *httpCheck) next() string                { return "" }
func (h *httpCheck) wrap(conn net.Conn) net.Conn { return conn }

// workspace is what an exchange needs beside the connection.
type workspace struct {
	out   []byte
	limit io.LimitedReader
	in    *bufio.Reader
	body  bytes.Buffer
}

var workspaces = sync.Pool{New: func() any { return &workspace{in: bufio.NewReaderSize(nil, 2<<10)} }}

func (h *httpCheck) exchange(ctx context.Context, conn net.Conn, reused bool) (keep bool, err error) {
	w := workspaces.Get().(*workspace)
	defer func() {
		w.limit.R = nil
		w.in.Reset(nil)
		if w.body.Cap() <= 64<<10 {
			w.body.Reset()
		} else {
			w.body = bytes.Buffer{}
		}
		workspaces.Put(w)
	}()
	stale := func(err error) error {
		if reused && ctx.Err() == nil {
			return errStale
		}
		return err
	}
	host := h.plan.host
	if host == "" {
		host = h.at.authority()
	}
	w.out = append(append(append(w.out[:0], h.plan.before...), host...), h.plan.after...)
	if _, err := conn.Write(w.out); err != nil {
		return false, stale(err)
	}
	w.limit = io.LimitedReader{R: conn, N: maxHead}
	w.in.Reset(&w.limit)
	if _, err := w.in.Peek(1); err != nil {
		return false, stale(err)
	}
	resp, err := readHead(w.in, h.plan.asked)
	if err != nil {
		if w.limit.N <= 0 {
			err = fmt.Errorf("the response's head is longer than %d KiB", maxHead>>10)
		}
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusRequestTimeout && reused && !h.plan.statuses.has(resp.StatusCode) {
		return false, stale(nil) // sent by the server as it gave up on the idle connection
	}
	if !h.plan.statuses.has(resp.StatusCode) {
		return false, fmt.Errorf("status %d, want %s", resp.StatusCode, h.plan.shown)
	}
	return h.judge(w, resp)
}

// judge reads the body, and looks for what it must hold.
func (h *httpCheck) judge(w *workspace, resp *http.Response) (keep bool, err error) {
	var to io.Writer = io.Discard
	wanted := len(h.plan.body) > 0 || h.plan.regexp != nil
	if wanted {
		to = &w.body
	}
	w.limit.N = maxBody + 4<<10 // the chunks' heads come on top
	n, err := io.Copy(to, io.LimitReader(resp.Body, maxBody))
	whole := n < maxBody && w.limit.N > 0
	if err != nil && whole {
		return false, fmt.Errorf("the response's body broke off: %w", err)
	}
	if wanted && !bytes.Contains(w.body.Bytes(), h.plan.body) {
		return false, fmt.Errorf("the response's body does not hold %q", clip(string(h.plan.body)))
	}
	if h.plan.regexp != nil && !h.plan.regexp.Match(w.body.Bytes()) {
		return false, fmt.Errorf("the response's body does not match %q", clip(h.plan.regexp.String()))
	}
	return whole && !resp.Close && w.in.Buffered() == 0, nil
}

// readHead reads up to the head of the final response.
func readHead(r *bufio.Reader, req *http.Request) (*http.Response, error) {
	for range max1xx + 1 {
		resp, err := http.ReadResponse(r, req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, fmt.Errorf("more than %d informational responses", max1xx)
}

// plans makes the plan of each distinct [Options] once. The zero value is ready.
type plans struct {
	mu    sync.RWMutex
	known map[Options]made // guarded by mu
}

type made struct {
	plan *plan
	err  error
}

// maxPlans bounds what is remembered of options that no target has any more.
const maxPlans = 1024

func (p *plans) get(o *Options, userAgent string) (*plan, error) {
	key := *o
	// What differs from service to service, and is no part of a plan.
	key.Interval, key.UnhealthyInterval, key.Timeout, key.FailureThreshold, key.SuccessThreshold = 0, 0, 0, 0, 0
	p.mu.RLock()
	m, ok := p.known[key]
	p.mu.RUnlock()
	if ok {
		return m.plan, m.err
	}
	m.plan, m.err = newPlan(o, userAgent)
	p.mu.Lock()
	if p.known == nil || len(p.known) >= maxPlans {
		p.known = map[Options]made{}
	}
	p.known[key] = m
	p.mu.Unlock()
	return m.plan, m.err
}
