package probe

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// benchServer is the variable that makes the test binary a server for the benchmark, so that its time is not ours.
const benchServer = "PROBE_BENCH_SERVER"

// serveBench answers every request on standard input's connection address until standard input ends.
func serveBench() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
	io.WriteString(os.Stdout, l.Addr().String()+"\n")
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				buf := make([]byte, 4096)
				for {
					if _, err := conn.Read(buf); err != nil {
						return
					}
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
				}
			}()
		}
	}()
	io.Copy(io.Discard, os.Stdin)
}

// BenchmarkHTTPProbe tells what a probe costs the balancer: cpu-µs/op is the time of this process alone.
func BenchmarkHTTPProbe(b *testing.B) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchServer+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	p := New(Config{Report: func(string, Result) {}})
	t := newTarget(Target{Key: "a", URL: "http://" + address[:len(address)-1], Options: every10s})
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if err := p.check.check(ctx, t); err != nil {
			b.Fatal(err)
		}
		cancel()
	}
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
	t.conn.Close()
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
