//go:build linux

package netlab

import (
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// Fault is what a link does to what is sent over it. The zero value passes everything on at once.
type Fault struct {
	// Loss is the share of frames that vanish, 0 to 1. At 1 the link is cut: nothing arrives and nobody is told.
	Loss float64
	// Delay is added to each frame's way.
	Delay time.Duration
}

// Cut swallows everything.
var Cut = Fault{Loss: 1}

// mac is an Ethernet address.
type mac [6]byte

// fabric carries frames between ports. It learns by which port an address is reached, as switches do.
type fabric struct {
	mu     sync.RWMutex
	ports  []*port
	learnt map[mac]*port
	faults map[[2]*port]Fault // by sender and receiver
	closed bool               // nothing is delivered any more
	frames sync.WaitGroup     // those that are delayed
}

// port is a host's end of the switch.
type port struct {
	name string
	tap  *os.File
}

func newFabric() *fabric {
	return &fabric{learnt: map[mac]*port{}, faults: map[[2]*port]Fault{}}
}

func (f *fabric) add(p *port) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ports = append(f.ports, p)
}

func (f *fabric) set(from, to *port, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[[2]*port{from, to}] = fault
}

// close ends delivery and returns when nothing is on its way any more.
func (f *fabric) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.frames.Wait()
}

// carry moves what a port sends until its end is closed.
func (f *fabric) carry(from *port) {
	frame := make([]byte, 64<<10)
	for {
		n, err := from.tap.Read(frame)
		if err != nil {
			return
		}
		if n >= 14 {
			f.forward(from, frame[:n])
		}
	}
}

// forward sends a frame to the port of its address, or to all others if that is not known or is that of a group.
func (f *fabric) forward(from *port, frame []byte) {
	to, source := mac(frame[:6]), mac(frame[6:12])
	f.mu.RLock()
	known := f.learnt[source] == from
	target := f.learnt[to]
	f.mu.RUnlock()
	if !known {
		f.mu.Lock()
		f.learnt[source] = from
		f.mu.Unlock()
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	if group := to[0]&1 == 1; target != nil && !group {
		f.deliverLocked(from, target, frame)
		return
	}
	for _, p := range f.ports {
		if p != from {
			f.deliverLocked(from, p, frame)
		}
	}
}

func (f *fabric) deliverLocked(from, to *port, frame []byte) {
	fault := f.faults[[2]*port{from, to}]
	switch {
	case f.closed:
	case fault.Loss > 0 && rand.Float64() < fault.Loss:
	case fault.Delay > 0:
		late := append([]byte(nil), frame...)
		f.frames.Add(1)
		time.AfterFunc(fault.Delay, func() {
			defer f.frames.Done()
			_, _ = to.tap.Write(late)
		})
	default:
		_, _ = to.tap.Write(frame) // a full queue loses it, as anywhere
	}
}
