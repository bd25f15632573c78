//go:build linux

package integration

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vietddude/load-balancer/integration/netlab"
)

// The snapshot lies on a disk that fills up: requests and tables go on, the snapshot that is there stays whole, and is
// written again when there is room.
func TestFaultsOfTheDiskFailNoRequestAndLeaveTheSnapshotWhole(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	disk := netlab.NewDisk(t, 1<<20)
	n.startEtcd(1)
	p := netlab.Program{Path: program(t, once(balancerOnce)), Files: []*os.File{disk.File}}
	lb := n.runBalancer(p, quickConfig+"snapshot: {path: "+netlab.PathFrom(3, "state")+"}\n", "--discovery", n.etcdURL(), "--service", "web")
	for _, backend := range []string{"one", "two", "three"} {
		n.addBackend(backend)
	}
	a := n.etcdAnnouncer()
	a.add("web", "one")
	a.add("web", "two")
	lb.holds(time.Minute, n.truth("web", "one", "two"))
	snapshot := disk.Path("state")
	written := func() float64 { return lb.gauge(`lb_snapshot_writes_total{result="success"}`) }
	failed := func() float64 { return lb.gauge(`lb_snapshot_writes_total{result="failed"}`) }
	settled := n.writtenLast(lb, snapshot)
	before := lb.footprint()
	l := startLoadBy(t, n.transport(n.lab.Client()), lb.url, 50)

	disk.Fill()
	struck := time.Now()
	a.add("web", "three")
	a.remove("web", "one")
	lb.holds(healing, n.truth("web", "two", "three")) // nothing that it needs is away
	eventually(t, healing, "it is counted that the snapshot cannot be written", func() bool { return failed() > 0 })
	if check, err := lb.ask("/readyz?verbose"); err != nil || !strings.Contains(string(check), "no space left on device") {
		t.Errorf("/readyz does not tell of the full disk (%v): %s", err, check)
	}
	time.Sleep(lasting() - time.Since(struck)) // the fault itself
	if now, err := os.ReadFile(snapshot); err != nil || !bytes.Equal(now, settled) {
		t.Errorf("the snapshot is not the last one that was written any more (%v)", err)
	}
	so, room := written(), time.Now()
	disk.Free()
	eventually(t, time.Minute, "the snapshot is written again", func() bool { return written() > so })
	took := time.Since(room)
	l.end()
	row(t, "the disk of the snapshot is full (truth: the snapshot's)", l, took)
	l.stop(t)
	lb.expectNoLeak(before)

	// It holds what came while there was no room: a balancer that finds no store begins with it.
	n.writtenLast(lb, snapshot)
	n.lab.Between(n.etcd[0].host, lb.host, netlab.Cut)
	lb.proc.Kill()
	lb.proc.Restart()
	lb.holds(healing, n.truth("web", "two", "three"))
}

// writtenLast waits until the snapshot is on disk and no newer one is about to be, and returns it.
func (n *network) writtenLast(lb *netBalancer, path string) (text []byte) {
	n.t.Helper()
	eventually(n.t, time.Minute, "the snapshot is written and stays", func() bool {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				n.t.Fatal(err)
			}
			return false
		}
		time.Sleep(3 * time.Second) // three times the least time between two writings
		again, err := os.ReadFile(path)
		return err == nil && bytes.Equal(text, again)
	})
	return text
}
