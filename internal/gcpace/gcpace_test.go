package gcpace

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestTheShareLeavesTheSameRoom(t *testing.T) {
	for live, want := range map[uint64]int{0: 800, 1 << 20: 800, 4 << 20: 800, 32 << 20: 100, 64 << 20: 50, 100 << 20: 35, 10 << 30: 35} {
		if got := share(live); got != want {
			t.Errorf("with %d MiB alive the share is %d, want %d", live>>20, got, want)
		}
	}
}

// percent reads the collector's share.
func percent() int {
	p := debug.SetGCPercent(100)
	debug.SetGCPercent(p)
	return p
}

func TestTheShareFollowsTheHeapAndIsPutBack(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	before := percent()
	stop := Start()
	ballast := make([]byte, 64<<20)
	for range 100 {
		runtime.GC() // finalizers run some time after
		if percent() < most {
			break
		}
		runtime.Gosched()
	}
	if got := percent(); got >= most {
		t.Errorf("with 64 MiB alive the share is still %d", got)
	}
	runtime.KeepAlive(ballast)
	stop()
	if got := percent(); got != before {
		t.Errorf("after stop the share is %d, before Start it was %d", got, before)
	}
}

func TestWhoeverSetsTheCollectorIsObeyed(t *testing.T) {
	t.Setenv("GOGC", "50")
	before := percent()
	defer Start()()
	if got := percent(); got != before {
		t.Errorf("with GOGC set the share becomes %d", got)
	}
}

func TestMemoryIsGivenBackOnceAfterAGreatChange(t *testing.T) {
	p := &pacer{now: most}
	ballast := make([]byte, 2*Headroom)
	runtime.GC()
	for range 2 {
		p.trim()
		if p.trimmed.Load() < 2*Headroom {
			t.Fatalf("with %d bytes alive memory was given back at %d", live(), p.trimmed.Load())
		}
	}
	kept := p.trimmed.Load()
	runtime.GC()
	if p.trim(); p.trimmed.Load() != kept {
		t.Errorf("memory is given back again, though what lives is %d and was %d", live(), kept)
	}
	runtime.KeepAlive(ballast)
	p.stopped.Store(true)
	p.trimmed.Store(0)
	if p.trim(); p.trimmed.Load() != 0 {
		t.Error("memory is given back after the end")
	}
}
