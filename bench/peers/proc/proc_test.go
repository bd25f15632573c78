//go:build linux

package proc

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

const statLine = "4242 (a) b (c) S 17 4242 4242 0 -1 4194560 12 0 0 0 123 45 0 0 20 0 7 0 99 1000 200 18446744073709551615"

func TestParseStatCountsFieldsBehindTheName(t *testing.T) {
	got, err := ParseStat([]byte(statLine))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Stat{Parent: 17, User: 1230 * time.Millisecond, System: 450 * time.Millisecond}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseStatRefusesWhatIsNoStat(t *testing.T) {
	for _, bad := range []string{"", "4242", "4242 (x", "4242 (x) S 17", strings.Replace(statLine, "17", "x", 1), strings.Replace(statLine, " 45 ", " x ", 1)} {
		if got, err := ParseStat([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v", bad, got)
		}
	}
}

func TestParseStatusFindsTheKeyAlone(t *testing.T) {
	status := []byte("Name:\tVmRSS\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t1\n")
	for key, want := range map[string]int64{"VmRSS": 1 << 20, "VmHWM": 2 << 20} {
		if got, err := ParseStatus(status, key); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", key, got, err, want)
		}
	}
	for _, key := range []string{"Vm", "Name", "Threads"} {
		if got, err := ParseStatus(status, key); err == nil {
			t.Errorf("%s: got %d", key, got)
		}
	}
}

func TestParseMachineLeavesIdleTimeOut(t *testing.T) {
	got, err := ParseMachine([]byte("cpu  100 20 30 4000 500 6 7 80 9 10\ncpu0 1 2 3\n"))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Machine{Busy: 1630 * time.Millisecond, Steal: 800 * time.Millisecond}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7 x"} {
		if got, err := ParseMachine([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v", bad, got)
		}
	}
}

func TestCPUTimeGrowsWithWorkAndAgreesWithItsParts(t *testing.T) {
	self := []int{os.Getpid()}
	before, err := ReadCPU(self)
	if err != nil {
		t.Fatal(err)
	}
	const work = 100 * time.Millisecond
	var used CPU
	for sink := 0; used.Total < work; {
		for i := range 1 << 20 {
			sink += i
		}
		now, err := ReadCPU(self)
		if err != nil {
			t.Fatal(err)
		}
		used = now.Sub(before)
	}
	// User and system time come in ticks, each of which may be cut off.
	if d := used.Total - used.User - used.System; d < -3*tick || d > 3*tick {
		t.Errorf("total %v, user %v, system %v", used.Total, used.User, used.System)
	}
}

func TestAnEndedProcessHasNoCPUTime(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "exit 0")
	if err := cmd.Run(); err != nil {
		t.Skip(err)
	}
	if got, err := ReadCPU([]int{cmd.Process.Pid}); err == nil {
		t.Errorf("got %+v", got)
	}
}

func TestTheTreeHasGrandchildren(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "/bin/sh -c 'echo $$; read x; :'; :")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer cmd.Wait()
	defer in.Close()
	line := make([]byte, 16)
	if _, err := out.Read(line); err != nil { // the grandchild runs
		t.Fatal(err)
	}
	tree, err := Tree(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	below, err := Tree(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if len(below) != 2 || tree[0] != os.Getpid() {
		t.Fatalf("the tree of the child is %v, the whole %v", below, tree)
	}
	for _, pid := range below {
		if !slices.Contains(tree, pid) {
			t.Errorf("%d is missing in %v", pid, tree)
		}
	}
}

func TestMemoryOfThisProcessIsKnown(t *testing.T) {
	now, err := Memory([]int{os.Getpid()}, "VmRSS")
	if err != nil {
		t.Fatal(err)
	}
	peak, err := Memory([]int{os.Getpid()}, "VmHWM")
	if err != nil {
		t.Fatal(err)
	}
	if now < 1<<20 || peak < now/2 {
		t.Errorf("now %d, peak %d bytes", now, peak)
	}
}
