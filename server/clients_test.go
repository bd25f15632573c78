package server

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestAnIPv6ClientIsCountedByItsNetwork(t *testing.T) {
	c := newClients(0, 2, func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.1") })
	for i, step := range []struct {
		addr string
		ok   bool
	}{
		{"2001:db8:0:1::1", true},
		{"2001:db8:0:1::2", true},
		{"2001:db8:0:1::3", false},
		{"2001:db8:0:2::1", true},
		{"192.0.2.1", true},
		{"::ffff:192.0.2.1", true},
		{"192.0.2.1", false},
		{"192.0.2.2", true},
		{"10.0.0.1", true},
		{"10.0.0.1", true},
		{"10.0.0.1", true},
	} {
		if _, err := c.enterFrom(netip.MustParseAddr(step.addr)); (err == nil) != step.ok {
			t.Errorf("step %d, %s: %v", i, step.addr, err)
		}
	}
	if n := c.refused[refusedAddress].Load(); n != 2 {
		t.Errorf("%d refused, want 2", n)
	}
}

// Whatever comes and goes, the numbers are those of a plain count, and nothing is kept of who has left.
func TestConnectionsAreCountedAsAPlainCountDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most, each := rapid.IntRange(1, 6).Draw(t, "most"), rapid.IntRange(1, 3).Draw(t, "each")
		c := newClients(most, each, nil)
		var open []netip.Addr
		count := func(a netip.Addr) (n int) {
			for _, o := range open {
				if o == a {
					n++
				}
			}
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"come": func(t *rapid.T) {
				a := netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "address") % 3})
				if err := c.enter(); (err == nil) != (len(open) < most) {
					t.Fatalf("%d open: %v", len(open), err)
				} else if err != nil {
					return
				}
				from, err := c.enterFrom(a)
				if (err == nil) != (count(a) < each) {
					t.Fatalf("%d open from %v: %v", count(a), a, err)
				}
				if err != nil {
					c.leave()
					return
				}
				open = append(open, from)
			},
			"go": func(t *rapid.T) {
				if len(open) == 0 {
					return
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				c.leaveFrom(open[i])
				c.leave()
				open = append(open[:i], open[i+1:]...)
			},
			"": func(t *rapid.T) {
				kept := 0
				for i := range c.shards {
					kept += len(c.shards[i].open)
				}
				different := map[netip.Addr]bool{}
				for _, a := range open {
					different[a] = true
				}
				if kept != len(different) || c.open.Load() != int64(len(open)) {
					t.Fatalf("%d addresses and %d connections, want %d and %d", kept, c.open.Load(), len(different), len(open))
				}
			},
		})
	})
}
