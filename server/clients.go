package server

import (
	"errors"
	"hash/maphash"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/vietddude/load-balancer/proxy/proxyproto"
)

// Why a connection is closed before its first request.
const (
	refusedTotal = iota
	refusedAddress
	refusedHeader
	refusals
)

var refusalWords = [refusals]string{"connections", "connections_per_address", "proxy_protocol"}

var (
	errTooMany        = errors.New("limits.connections are open")
	errTooManyOfThese = errors.New("limits.connections_per_address are open from the client's address")
)

// clients bound the connections that clients have open, over all listeners. Its methods may be called concurrently.
type clients struct {
	// most and perAddress are the bounds, 0 for none. Exempt addresses, which may be nil for none, have no second one.
	most, perAddress int
	exempt           func(netip.Addr) bool

	open    atomic.Int64
	refused [refusals]atomic.Uint64
	seed    maphash.Seed
	shards  [32]clientShard
}

// clientShard holds the numbers of some addresses.
type clientShard struct {
	mu   sync.Mutex
	open map[netip.Addr]int // not 0
}

func newClients(most, perAddress int, exempt func(netip.Addr) bool) *clients {
	return &clients{most: most, perAddress: perAddress, exempt: exempt, seed: maphash.MakeSeed()}
}

// enter takes a connection up unless there are too many. Whoever entered leaves.
func (c *clients) enter() error {
	if n := c.open.Add(1); c.most > 0 && n > int64(c.most) {
		c.open.Add(-1)
		c.refused[refusedTotal].Add(1)
		return errTooMany
	}
	return nil
}

// strikes adds how often the bounds have struck.
func (c *clients) strikes(to map[string]uint64) {
	for i, word := range refusalWords {
		to[word] = c.refused[i].Load()
	}
}

func (c *clients) leave() { c.open.Add(-1) }

// enterFrom counts a connection for its client's address unless that has too many. The address that it returns is what
// leaveFrom takes; it is not valid if nothing is counted.
func (c *clients) enterFrom(a netip.Addr) (netip.Addr, error) {
	if c.perAddress <= 0 || c.exempt != nil && c.exempt(a) {
		return netip.Addr{}, nil
	}
	a = party(a)
	s := c.shard(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[a] >= c.perAddress {
		c.refused[refusedAddress].Add(1)
		return netip.Addr{}, errTooManyOfThese
	}
	if s.open == nil {
		s.open = make(map[netip.Addr]int)
	}
	s.open[a]++
	return a, nil
}

func (c *clients) leaveFrom(a netip.Addr) {
	if !a.IsValid() {
		return
	}
	s := c.shard(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[a]--; s.open[a] == 0 {
		delete(s.open, a)
	}
}

func (c *clients) shard(a netip.Addr) *clientShard {
	return &c.shards[maphash.Comparable(c.seed, a)%uint64(len(c.shards))]
}

// party is whom an address is counted for: of IPv6 the /64 that one subscriber has at least.
func party(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// clientConn is a client's connection. It tells its listener when it is closed, and stays a *net.TCPConn in all but its
// addresses, which a PROXY header may tell, so that a tunnel can close one direction and copy from socket to socket.
type clientConn struct {
	*net.TCPConn
	ln     *clientListener
	closed atomic.Bool

	// Written by greet, before others than the connection's goroutine know it.
	remote, local net.Addr // nil where no header told

	mu      sync.Mutex // guards what follows: it may be closed while it is greeted
	counted netip.Addr
}

// TCP is the connection itself, for the engine.
func (c *clientConn) TCP() *net.TCPConn { return c.TCPConn }

// RemoteAddr is the client's address.
func (c *clientConn) RemoteAddr() net.Addr {
	if c.remote != nil {
		return c.remote
	}
	return c.TCPConn.RemoteAddr()
}

// LocalAddr is the address that the client connected to.
func (c *clientConn) LocalAddr() net.Addr {
	if c.local != nil {
		return c.local
	}
	return c.TCPConn.LocalAddr()
}

func (c *clientConn) Close() error {
	if !c.closed.Swap(true) {
		c.ln.count.open.Add(-1)
		c.ln.clients.leave()
		c.mu.Lock()
		c.ln.clients.leaveFrom(c.counted)
		c.counted = netip.Addr{}
		c.mu.Unlock()
	}
	return c.TCPConn.Close()
}

// countFrom counts the connection for the address that it comes from.
func (c *clientConn) countFrom() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return net.ErrClosed
	}
	a, err := c.ln.clients.enterFrom(addrOf(c.RemoteAddr()))
	c.counted = a
	return err
}

// greet is called before a connection's first request: it reads the header of a proxy that sends one.
func (c *clientConn) greet() error {
	if !c.ln.introduced(c.TCPConn.RemoteAddr()) {
		return nil
	}
	h, err := proxyproto.Read(c.TCPConn)
	if err != nil {
		c.ln.clients.refused[refusedHeader].Add(1)
		return err
	}
	if h.Source.IsValid() {
		c.remote, c.local = net.TCPAddrFromAddrPort(h.Source), net.TCPAddrFromAddrPort(h.Destination)
	}
	return c.countFrom()
}

// clientListener counts the connections that it accepts, and closes those beyond the bounds.
type clientListener struct {
	net.Listener
	count   *connCount
	clients *clients
	// proxies are the networks whose connections begin with a PROXY header.
	proxies []netip.Prefix
}

// Accept returns the next connection within the bounds.
func (l *clientListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.count.accepted.Add(1)
		if l.clients.enter() != nil {
			_ = nc.Close()
			continue
		}
		l.count.open.Add(1)
		c := &clientConn{TCPConn: nc.(*net.TCPConn), ln: l}
		if !l.introduced(nc.RemoteAddr()) && c.countFrom() != nil {
			_ = c.Close()
			continue
		}
		return c, nil
	}
}

// introduced reports whether connections from there begin with a PROXY header.
func (l *clientListener) introduced(from net.Addr) bool {
	if len(l.proxies) == 0 {
		return false
	}
	a := addrOf(from)
	for _, p := range l.proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
