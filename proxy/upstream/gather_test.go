package upstream

import (
	"io"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/proxy/socket"
)

// here is how many bytes have come.
func here(t *testing.T, c *Conn) (n int) {
	t.Helper()
	if err := c.look.raw.Control(func(fd uintptr) { n = socket.Waiting(fd) }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestGatherWaitsUntilEnoughHasCome(t *testing.T) {
	c, other := asked(t)
	c.gather.limit = time.Minute
	go func() {
		for range 32 {
			other.Write(make([]byte, 4<<10))
		}
	}()
	c.Gather(128 << 10)
	if n := here(t, c); n != 128<<10 {
		t.Errorf("%d bytes have come", n)
	}
	c.Gather(128 << 10) // they are there
	if n, err := io.ReadFull(c.TCP, make([]byte, 128<<10)); err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

func TestGatherWaitsForAPieceOfMuch(t *testing.T) {
	c, other := asked(t)
	c.gather.limit = time.Minute
	go func() {
		other.Write(make([]byte, 2*gatherMost))
		other.CloseWrite()
	}()
	c.Gather(1 << 30)
	if n := here(t, c); n < gatherMin {
		t.Errorf("%d bytes have come", n)
	}
}

func TestGatherDoesNotWaitForLittle(t *testing.T) {
	c, _ := asked(t)
	c.gather.limit = time.Minute
	c.Gather(gatherMin - 1)
}

func TestGatherEndsWithTheOtherSidesSending(t *testing.T) {
	for _, early := range []bool{false, true} {
		c, other := asked(t)
		c.gather.limit = time.Minute
		end := func() {
			io.WriteString(other, "short")
			other.CloseWrite()
		}
		if early {
			end()
			for !c.look.look().ended {
				c.look.Wait()
			}
		} else {
			go end()
		}
		c.Gather(1 << 20)
		if all, err := io.ReadAll(c.TCP); string(all) != "short" || err != nil {
			t.Errorf("read %q, %v", all, err)
		}
	}
}

func TestGatherGivesUpAndAsksForLess(t *testing.T) {
	c, other := asked(t)
	c.gather.limit = time.Millisecond
	c.ReadUntil = time.Now().Add(time.Minute)
	io.WriteString(other, "a")
	for range 8 {
		c.Gather(1 << 20)
	}
	if c.gather.most != gatherMin {
		t.Errorf("it asks for %d, want %d", c.gather.most, gatherMin)
	}
	// Each byte is told of again, and the deadline is the one from before.
	one := make([]byte, 1)
	for _, want := range []string{"a", "b"} {
		if n, err := c.TCP.Read(one); string(one[:n]) != want || err != nil {
			t.Fatalf("read %q, %v, want %q", one[:n], err, want)
		}
		io.WriteString(other, "b")
	}
	c.gather.limit = time.Minute
	go other.Write(make([]byte, gatherMin))
	c.Gather(1 << 20)
	if c.gather.most != 2*gatherMin {
		t.Errorf("after enough came it asks for %d, want %d", c.gather.most, 2*gatherMin)
	}
}

func TestGatherKeepsTheEarlierDeadline(t *testing.T) {
	c, _ := asked(t)
	c.gather.limit = time.Minute
	c.ReadUntil = time.Now().Add(time.Millisecond)
	c.Gather(1 << 20)
	if _, err := c.TCP.Read(make([]byte, 1)); err == nil {
		t.Error("the deadline has not passed")
	}
}

func TestGatherAllocatesNothingAgain(t *testing.T) {
	c, other := asked(t)
	c.gather.limit = time.Minute
	c.Gather(gatherMin - 1)
	in, out := make([]byte, gatherMin), make([]byte, gatherMin)
	if n := testing.AllocsPerRun(20, func() {
		other.Write(out)
		c.Gather(gatherMin)
		io.ReadFull(c.TCP, in)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
