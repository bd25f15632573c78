package tlsload

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func wantProblems(t *testing.T, s *Store, codes ...string) {
	t.Helper()
	var got []string
	for _, p := range s.Problems() {
		got = append(got, p.Code)
		if p.Detail == "" || p.CertFile == "" {
			t.Errorf("the problem %+v says too little", p)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(codes) {
		t.Errorf("problems are %v, want %v", got, codes)
	}
}

func TestAChangedPairIsServedAfterAReload(t *testing.T) {
	before, after := issue(t, "web.example"), issue(t, "web.example", "new.example")
	for name, replace := range map[string]func(t testing.TB, name string, text []byte){"in place": write, "by rename": swap} {
		t.Run(name, func(t *testing.T) {
			p := pairOf(t, before)
			s := newStore(t, Options{Pairs: []Pair{p}})
			config := s.Config()
			replace(t, p.CertFile, after.cert)
			replace(t, p.KeyFile, after.key)
			s.Reload()
			wantServed(t, s, "new.example", after)
			if st, err := handshake(t, config, &tls.Config{}); err != nil || !st.PeerCertificates[0].Equal(after.leaf) {
				t.Errorf("a configuration from before the reload serves the old certificate (%v)", err)
			}
			if c := s.Counts(); c != (Counts{Reloads: 1}) {
				t.Errorf("counted %+v, want 1 reload", c)
			}
		})
	}
}

func TestAKubernetesSwapOfSymbolicLinksIsSeen(t *testing.T) {
	before, after := issue(t, "web.example"), issue(t, "web.example")
	dir := t.TempDir()
	for i, m := range []made{before, after} {
		version := filepath.Join(dir, fmt.Sprint("..v", i))
		if err := os.Mkdir(version, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(version, "tls.crt"), m.cert)
		write(t, filepath.Join(version, "tls.key"), m.key)
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..v0", "..data")
	link("..data/tls.crt", "tls.crt")
	link("..data/tls.key", "tls.key")
	s := newStore(t, Options{Pairs: []Pair{{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}}})
	wantServed(t, s, "web.example", before)
	link("..v1", "..data_tmp")
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	s.Reload()
	wantServed(t, s, "web.example", after)
}

func TestAPairReplacedInTwoStepsKeepsTheOldUntilItIsWhole(t *testing.T) {
	before, after := issue(t, "web.example"), issue(t, "web.example")
	for _, certFirst := range []bool{true, false} {
		var log lines
		p := pairOf(t, before)
		s := newStore(t, Options{Pairs: []Pair{p}, Logger: log.logger()})
		steps := []func(){func() { swap(t, p.CertFile, after.cert) }, func() { swap(t, p.KeyFile, after.key) }}
		if !certFirst {
			steps[0], steps[1] = steps[1], steps[0]
		}
		steps[0]()
		for range 50 {
			s.Reload()
		}
		wantServed(t, s, "web.example", before)
		wantProblems(t, s, CodeRefused)
		if n := log.count("does not belong to the certificate"); n != 1 {
			t.Errorf("the reason was logged %d times, want once", n)
		}
		steps[1]()
		s.Reload()
		wantServed(t, s, "web.example", after)
		wantProblems(t, s)
		if c := s.Counts(); c != (Counts{Reloads: 1, Refusals: 1}) {
			t.Errorf("counted %+v, want 1 reload and 1 refusal", c)
		}
	}
}

func TestABadPairIsRefusedAndTheNextGoodOneTaken(t *testing.T) {
	before, after := issue(t, "web.example"), issue(t, "web.example")
	for name, spoil := range map[string]func(p Pair){
		"removed":   func(p Pair) { os.Remove(p.CertFile) },
		"empty":     func(p Pair) { write(t, p.CertFile, nil) },
		"cut short": func(p Pair) { write(t, p.KeyFile, after.key[:40]) },
		"directory": func(p Pair) { os.Remove(p.KeyFile); os.Mkdir(p.KeyFile, 0o700) },
		"too large": func(p Pair) { write(t, p.CertFile, []byte(strings.Repeat("x", maxFile+1))) },
	} {
		t.Run(name, func(t *testing.T) {
			var log lines
			p, other := pairOf(t, before), issue(t, "other.example")
			s := newStore(t, Options{Pairs: []Pair{p, pairOf(t, other)}, Logger: log.logger()})
			spoil(p)
			for range 3 {
				s.Reload()
			}
			wantServed(t, s, "web.example", before)
			wantServed(t, s, "other.example", other)
			wantProblems(t, s, CodeRefused)
			if n := log.count("changed certificate refused"); n != 1 {
				t.Errorf("logged %d times, want once", n)
			}
			if name == "directory" {
				os.Remove(p.KeyFile)
			}
			swap(t, p.CertFile, after.cert)
			swap(t, p.KeyFile, after.key)
			s.Reload()
			wantServed(t, s, "web.example", after)
			wantProblems(t, s)
		})
	}
}

func TestFilesThatAreRestoredEndTheProblem(t *testing.T) {
	m := issue(t, "web.example")
	p := pairOf(t, m)
	s := newStore(t, Options{Pairs: []Pair{p}})
	swap(t, p.KeyFile, issue(t).key)
	s.Reload()
	wantProblems(t, s, CodeRefused)
	swap(t, p.KeyFile, m.key)
	s.Reload()
	wantProblems(t, s)
	wantServed(t, s, "web.example", m)
	if c := s.Counts(); c.Reloads != 0 {
		t.Errorf("%d reloads counted, though the certificate never changed", c.Reloads)
	}
}

func TestAChangeThatKeepsSizeAndTimeIsSeen(t *testing.T) {
	before, after := issue(t, "web.example"), issue(t, "web.example")
	p := pairOf(t, before)
	at := time.Now().Add(-time.Hour)
	age := func() {
		for _, name := range []string{p.CertFile, p.KeyFile} {
			if err := os.Chtimes(name, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	pad := max(len(before.cert), len(after.cert))
	padded := func(m made) []byte { return append(m.cert, strings.Repeat("\n", pad-len(m.cert))...) }
	write(t, p.CertFile, padded(before))
	age()
	s := newStore(t, Options{Pairs: []Pair{p}})
	write(t, p.CertFile, padded(after))
	write(t, p.KeyFile, after.key)
	age()
	s.mu.Lock()
	reloaded := s.reloadLocked(time.Now().Add(reread))
	s.publishLocked()
	s.mu.Unlock()
	if !reloaded {
		t.Error("not seen by the time at which attributes are no longer trusted")
	}
	wantServed(t, s, "web.example", after)
}

func TestExpiredAndEarlyCertificatesAreServedAndTold(t *testing.T) {
	expired := maker{notAfter: time.Now().Add(-time.Minute)}.issue(t, "old.example")
	early := maker{notBefore: time.Now().Add(30 * time.Minute)}.issue(t, "new.example")
	var log lines
	s := newStore(t, Options{Pairs: []Pair{pairOf(t, expired), pairOf(t, early)}, Logger: log.logger()})
	wantServed(t, s, "old.example", expired)
	wantServed(t, s, "new.example", early)
	wantProblems(t, s, CodeExpired, CodeNotYet)
	s.Reload()
	if log.count("certificate expired") != 1 || log.count("certificate not-yet-valid") != 1 {
		t.Errorf("logged:\n%s", log.buf.String())
	}
	for i, want := range []string{"the certificate of old.example expired on", "the certificate of new.example is valid from"} {
		if d := s.Problems()[i].Detail; !strings.Contains(d, want) {
			t.Errorf("%q, want it to say %q", d, want)
		}
	}
}

func TestCertificatesDescribeWhatIsInForce(t *testing.T) {
	a, b := issue(t, "a.example", "*.a.example"), maker{rsa: true}.issue(t, "b.example")
	pa, pb := pairOf(t, a), pairOf(t, b)
	s := newStore(t, Options{Pairs: []Pair{pa, pb, pa}})
	got := s.Certificates()
	if len(got) != 2 {
		t.Fatalf("%d certificates, want 2: one pair is given twice", len(got))
	}
	if c := got[0]; c.Pair != pa || fmt.Sprint(c.Names) != "[a.example *.a.example]" || !c.Default || c.Key != "ECDSA" || !c.NotAfter.Equal(a.leaf.NotAfter) {
		t.Errorf("%+v", c)
	}
	if c := got[1]; c.Pair != pb || c.Default || c.Key != "RSA" {
		t.Errorf("%+v", c)
	}
}

func TestSetPairsReplacesAllOrNothing(t *testing.T) {
	a, b, c := issue(t, "a.example"), issue(t, "b.example"), issue(t, "c.example")
	pa, pb, pc := pairOf(t, a), pairOf(t, b), pairOf(t, c)
	s := newStore(t, Options{Pairs: []Pair{pa, pb}})
	wantErr(t, s.SetPairs([]Pair{pc, {CertFile: "/nowhere.pem", KeyFile: pa.KeyFile}, {CertFile: pa.CertFile, KeyFile: pb.KeyFile}}),
		"/nowhere.pem does not exist", "does not belong")
	wantErr(t, s.SetPairs(nil), "no certificate is given")
	wantServed(t, s, "b.example", b)
	wantServed(t, s, "c.example", a)
	if err := s.SetPairs([]Pair{pb, pc}); err != nil {
		t.Fatal(err)
	}
	wantServed(t, s, "c.example", c)
	wantServed(t, s, "a.example", b)
}

func TestSetPairsKeepsAPairThatIsBeingReplacedAndTakesOneThatHasBeen(t *testing.T) {
	a, b, later := issue(t, "a.example"), issue(t, "b.example"), issue(t, "b.example")
	pa, pb := pairOf(t, a), pairOf(t, b)
	s := newStore(t, Options{Pairs: []Pair{pa, pb}})
	swap(t, pa.KeyFile, later.key)
	swap(t, pb.CertFile, later.cert)
	swap(t, pb.KeyFile, later.key)
	if err := s.SetPairs([]Pair{pb, pa}); err != nil {
		t.Fatal(err)
	}
	wantServed(t, s, "a.example", a)
	wantServed(t, s, "b.example", later)
	wantProblems(t, s, CodeRefused)
}

func TestSessionsAreResumedAcrossAReload(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		p := pairOf(t, issue(t, "web.example"))
		s := newStore(t, Options{Pairs: []Pair{p}})
		config := s.Config()
		client := &tls.Config{ServerName: "web.example", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		if st, err := handshake(t, config, client); err != nil || st.DidResume {
			t.Fatalf("first handshake: resumed %v, %v", st.DidResume, err)
		}
		after := issue(t, "web.example")
		swap(t, p.CertFile, after.cert)
		swap(t, p.KeyFile, after.key)
		s.Reload()
		if st, err := handshake(t, config, client); err != nil || !st.DidResume {
			t.Errorf("%s: resumed %v, %v", tls.VersionName(version), st.DidResume, err)
		}
	}
}

func TestConfigsMayBeChangedByTheirOwners(t *testing.T) {
	s := newStore(t, Options{Pairs: []Pair{pairOf(t, issue(t, "a"))}})
	c := s.Config()
	c.MinVersion, c.NextProtos = tls.VersionTLS13, nil
	if s.Config().MinVersion != tls.VersionTLS12 || len(s.Config().NextProtos) != 2 {
		t.Error("one owner's change is seen by another")
	}
}

func TestRunReloadsWithinASecondOfAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Files have the time of the world outside, so that attributes are compared, but never vouch, in the bubble.
		before, after := issue(t, "web.example"), issue(t, "web.example")
		p := pairOf(t, before)
		s := newStore(t, Options{Pairs: []Pair{p}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.Run(ctx) }()
		time.Sleep(10*time.Second + 1)
		swap(t, p.CertFile, after.cert)
		swap(t, p.KeyFile, after.key)
		time.Sleep(time.Second)
		synctest.Wait()
		wantServed(t, s, "web.example", after)
		cancel()
		<-ended
	})
}

func TestANegativeIntervalNeverReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := issue(t, "web.example"), issue(t, "web.example")
		p := pairOf(t, before)
		s := newStore(t, Options{Pairs: []Pair{p}, ReloadInterval: -1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		swap(t, p.CertFile, after.cert)
		swap(t, p.KeyFile, after.key)
		s.Run(ctx)
		wantServed(t, s, "web.example", before)
	})
}

func TestNoHandshakeFailsWhileCertificatesAreSwapped(t *testing.T) {
	certs := []made{issue(t, "web.example"), issue(t, "web.example"), maker{rsa: true}.issue(t, "web.example")}
	p := pairOf(t, certs[0])
	s := newStore(t, Options{Pairs: []Pair{p}, ReloadInterval: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	done := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			config := s.Config()
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := handshake(t, config, &tls.Config{ServerName: "web.example"}); err != nil {
					t.Errorf("a handshake failed: %v", err)
					return
				}
				s.Problems()
				s.Certificates()
			}
		})
	}
	for i := range 60 {
		m := certs[i%len(certs)]
		replace := swap
		if i%2 == 0 {
			replace = write // not in one step: readers may see half a file
		}
		replace(t, p.CertFile, m.cert)
		replace(t, p.KeyFile, m.key)
		if i%3 == 0 {
			s.Reload() // the rest is for Run to see, or not
		}
	}
	close(done)
	s.Reload()
	cancel()
	wg.Wait()
	wantServed(t, s, "web.example", certs[59%len(certs)])
	if c := s.Counts(); c.Reloads == 0 {
		t.Error("nothing was reloaded, so the test showed nothing")
	}
}
