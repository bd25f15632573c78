//go:build linux

package load

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vietddude/load-balancer/bench/peers/proc"
	"github.com/vietddude/load-balancer/bench/peers/wire"
)

// drain is how long an open loop waits for answers after its last request.
const drain = 2 * time.Second

// loop is one thread around one set of sockets, so that neither a scheduler nor other threads add to latencies. Times in
// it count from its start.
type loop struct {
	spec  Spec
	poll  *wire.Poller
	body  *wire.Body
	conns []*conn
	start time.Time

	idle []*conn // of an open loop, the last used one last
	sent int     // requests of an open loop; request k is due at k/Rate

	measuring bool
	latency   Histogram
	res       Result
}

func newLoop(s Spec) (*loop, error) {
	if s.TLS && (s.Body > 0 || s.Rate > 0) {
		return nil, errors.New("load: within TLS only a closed loop without bodies is provided for")
	}
	poll, err := wire.NewPoller()
	if err != nil {
		return nil, err
	}
	poll.Alone = s.Alone
	l := &loop{spec: s, poll: poll, res: Result{Errors: map[string]int64{}}}
	if s.Body > 0 {
		if l.body, err = wire.NewBody(bytes.Repeat([]byte("x"), s.Body)); err != nil {
			return nil, err
		}
	}
	for i := range s.Conns {
		c := &conn{id: i, head: s.head(""), body: l.body, in: make([]byte, 16<<10)}
		if err := l.open(c); err != nil {
			l.close()
			return nil, fmt.Errorf("load: connection %d of %d: %w", i+1, s.Conns, err)
		}
		l.conns = append(l.conns, c)
	}
	return l, nil
}

func (l *loop) now() time.Duration { return time.Since(l.start) }

// open connects and leaves the connection without a request.
func (l *loop) open(c *conn) error {
	if err := c.dial(l.spec); err != nil {
		return err
	}
	if c.tls != nil {
		c.tls.NetConn().(*socket).loops = true
	}
	return l.poll.Add(c.fd, c.id)
}

// run makes load until the time is over.
func (l *loop) run() (Result, error) {
	runtime.LockOSThread()
	if err := wire.ExactTimers(); err != nil {
		return Result{}, err
	}
	l.start = time.Now()
	for _, c := range l.conns {
		if l.spec.Rate > 0 {
			l.idle = append(l.idle, c)
		} else {
			l.begin(c, 0)
		}
	}
	if err := l.until(l.spec.Warmup); err != nil {
		return Result{}, err
	}
	before, err := proc.ReadCPU(l.spec.Proxy)
	if err != nil {
		return Result{}, err
	}
	l.measuring = true
	from := l.now()
	if err := l.until(from + l.spec.Duration); err != nil {
		return Result{}, err
	}
	after, err := proc.ReadCPU(l.spec.Proxy)
	if err != nil {
		return Result{}, err
	}
	l.res.CPU, l.res.Elapsed = after.Sub(before), l.now()-from
	return l.res, l.finish()
}

// until goes on until a time has come.
func (l *loop) until(end time.Duration) error {
	for {
		now := l.now()
		if now >= end {
			return nil
		}
		wait := end - now
		if l.spec.Rate > 0 {
			wait = l.dispatch(now, wait)
		}
		if err := l.step(wait); err != nil {
			return err
		}
	}
}

// close closes every connection.
func (l *loop) close() {
	for _, c := range l.conns {
		unix.Close(c.fd)
	}
	l.poll.Close()
}

// due returns when the next request of an open loop is to be sent, and whether there is one.
func (l *loop) due() (time.Duration, bool) {
	at := time.Duration(float64(l.sent) / l.spec.Rate * float64(time.Second))
	return at, at < l.spec.Warmup+l.spec.Duration
}

// dispatch sends requests that are due over idle connections and returns how long to wait for the next one.
func (l *loop) dispatch(now, most time.Duration) time.Duration {
	for len(l.idle) > 0 {
		at, ok := l.due()
		if !ok {
			break
		}
		if at > now {
			return min(at-now, most)
		}
		c := l.idle[len(l.idle)-1]
		l.idle = l.idle[:len(l.idle)-1]
		l.sent++
		l.begin(c, at)
	}
	return most
}

// step waits for sockets and goes on with those that are ready.
func (l *loop) step(wait time.Duration) error {
	ready, err := l.poll.Wait(wait)
	if err != nil {
		return err
	}
	for i := range ready {
		c := l.conns[ready[i].Fd]
		if !c.busy {
			l.replace(c, "closed while idle")
			continue
		}
		if c.waiting {
			l.send(c)
		}
		if !c.busy {
			continue
		}
		done, err := c.receive(l.spec.Session)
		if done {
			l.answered(c)
		} else if !again(err) {
			l.replace(c, short(err))
		}
	}
	return nil
}

func (l *loop) begin(c *conn, since time.Duration) {
	c.begin(since)
	l.send(c)
}

// send goes on with a request, now and whenever there is room.
func (l *loop) send(c *conn) {
	err := c.send()
	wants := err != nil && again(err)
	if wants != c.waiting {
		watch := l.poll.WantRead
		if wants {
			watch = l.poll.WantWrite
		}
		if e := watch(c.fd, c.id); e != nil {
			err = e
		}
		c.waiting = wants
	}
	if err != nil && !again(err) {
		l.replace(c, "write: "+short(err))
	}
}

func (l *loop) answered(c *conn) {
	c.busy = false
	now := l.now()
	switch {
	case c.fails != "":
		l.count(c.fails)
	case l.measuring:
		l.res.Requests++
		l.latency.Add(now - c.since)
	}
	if l.spec.Rate > 0 {
		l.idle = append(l.idle, c)
	} else {
		l.begin(c, now)
	}
}

// replace counts an error and connects anew in place of a connection that has failed.
func (l *loop) replace(c *conn, why string) {
	l.count(why)
	unix.Close(c.fd)
	if !c.busy {
		for i := range l.idle {
			if l.idle[i] == c {
				l.idle = append(l.idle[:i], l.idle[i+1:]...)
				break
			}
		}
	}
	if err := l.open(c); err != nil {
		c.busy, c.fd = false, -1
		l.count("connect: " + short(err)) // one connection less from here on
		return
	}
	if l.spec.Rate > 0 {
		l.idle = append(l.idle, c)
		return
	}
	l.retry(c)
}

// retry leaves a new connection of a closed loop to the next step: a proxy that refuses everything must not make this a
// recursion.
func (l *loop) retry(c *conn) {
	c.begin(l.now())
	c.waiting = true
	if err := l.poll.WantWrite(c.fd, c.id); err != nil {
		l.count("connect: " + short(err))
	}
}

func (l *loop) count(why string) {
	if l.measuring {
		l.res.Errors[why]++
	}
}

// finish waits for what an open loop still owes, and counts what is not answered in time.
func (l *loop) finish() error {
	if l.spec.Rate > 0 {
		end := l.now() + drain
		for now := l.now(); now < end && l.owed() > 0; now = l.now() {
			if err := l.step(l.dispatch(now, end-now)); err != nil {
				return err
			}
		}
		if n := l.owed(); n > 0 {
			l.res.Errors["unanswered"] = int64(n)
		}
	}
	l.res.P50, l.res.P99 = l.latency.Quantile(0.5), l.latency.Quantile(0.99)
	return nil
}

// owed is how many requests of an open loop are unsent or under way.
func (l *loop) owed() int {
	all := int(l.spec.Rate * (l.spec.Warmup + l.spec.Duration).Seconds())
	busy := 0
	for _, c := range l.conns {
		if c.busy {
			busy++
		}
	}
	return max(all-l.sent, 0) + busy
}
