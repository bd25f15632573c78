// Package faultnet stands between a client and a server in tests and breaks the network between them: a loopback TCP
// proxy that can be cut, frozen and healed.
package faultnet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Proxy forwards each connection to its address to one target. Its methods may be called concurrently.
type Proxy struct {
	addr   string
	target string

	// mu guards what follows.
	mu       sync.Mutex
	listener net.Listener  // nil while cut or closed
	thawed   chan struct{} // closed unless frozen
	pairs    map[*pair]struct{}
	closed   bool

	wg sync.WaitGroup
}

// pair is a client's connection and the one to the target that belongs to it.
type pair struct {
	client, server *net.TCPConn
	broken         chan struct{} // closed by abort
	once           sync.Once
}

// New listens on a free loopback port and forwards to target, a host:port.
func New(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("faultnet: %w", err)
	}
	p := &Proxy{addr: l.Addr().String(), target: target, thawed: make(chan struct{}), pairs: map[*pair]struct{}{}}
	close(p.thawed)
	p.listenLocked(l)
	return p, nil
}

// Addr is the host:port to connect to. It stays the same through all faults.
func (p *Proxy) Addr() string { return p.addr }

// SetTarget changes where new connections go.
func (p *Proxy) SetTarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Cut resets all connections and refuses new ones until [Proxy.Heal].
func (p *Proxy) Cut() {
	p.mu.Lock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.Reset()
}

// Reset resets all connections (RST) and lets new ones in.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.abort()
	}
}

// Freeze makes the network a black hole until [Proxy.Heal]: connections stand, new ones are taken, no byte passes.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.thawed:
		p.thawed = make(chan struct{})
	default:
	}
}

// Heal ends a cut and a freeze. What was held back by a freeze passes now. It fails when the port was taken meanwhile.
func (p *Proxy) Heal() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.thawed:
	default:
		close(p.thawed)
	}
	if p.listener != nil || p.closed {
		return nil
	}
	l, err := listenAgain(p.addr)
	if err != nil {
		return fmt.Errorf("faultnet: heal: %w", err)
	}
	p.listenLocked(l)
	return nil
}

// listenAgain retries for a moment: another's outgoing connection may hold the port for an instant.
func listenAgain(addr string) (l net.Listener, err error) {
	for range 50 {
		if l, err = net.Listen("tcp", addr); err == nil {
			return l, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, err
}

// Close resets everything and returns when all goroutines have ended.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Cut()
	p.wg.Wait()
}

func (p *Proxy) listenLocked(l net.Listener) {
	p.listener = l
	p.wg.Go(func() { p.accept(l) })
}

func (p *Proxy) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.wg.Go(func() { p.serve(l, c.(*net.TCPConn)) })
	}
}

// serve connects a client's connection, unless the listener it came from was cut meanwhile.
func (p *Proxy) serve(l net.Listener, client *net.TCPConn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	s, err := net.Dial("tcp", target)
	if err != nil {
		reset(client)
		return
	}
	c := &pair{client: client, server: s.(*net.TCPConn), broken: make(chan struct{})}
	p.mu.Lock()
	if p.listener != l {
		p.mu.Unlock()
		c.abort()
		return
	}
	p.pairs[c] = struct{}{}
	p.mu.Unlock()

	var both sync.WaitGroup
	both.Go(func() { p.copy(c, c.server, c.client) })
	both.Go(func() { p.copy(c, c.client, c.server) })
	both.Wait()
	c.client.Close()
	c.server.Close()
	p.mu.Lock()
	delete(p.pairs, c)
	p.mu.Unlock()
}

// copy passes bytes on from one side to the other, and its end as a half-close.
func (p *Proxy) copy(c *pair, to, from *net.TCPConn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		thawed := p.thawed
		p.mu.Unlock()
		select {
		case <-thawed:
		case <-c.broken:
			return
		}
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				c.abort()
				return
			}
		}
		if err == io.EOF {
			to.CloseWrite()
			return
		}
		if err != nil {
			c.abort()
			return
		}
	}
}

// abort resets both connections.
func (c *pair) abort() {
	c.once.Do(func() {
		close(c.broken)
		reset(c.client)
		reset(c.server)
	})
}

func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}
