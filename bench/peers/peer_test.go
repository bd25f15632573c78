//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/config"
)

func testInstallation(t *testing.T) installation {
	t.Helper()
	dir := t.TempDir()
	c, err := newCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := freeAddrs(3)
	if err != nil {
		t.Fatal(err)
	}
	return installation{
		Run: dir, Clear: addrs[0], TLS: addrs[1], Admin: addrs[2],
		Backends: []string{"127.0.0.1:1", "127.0.0.1:2"}, Discovery: "etcd://127.0.0.1:2379/bench",
		Cert: c.cert, Key: c.key, Pair: c.pair, AccessLog: filepath.Join(dir, "access.log"),
		Cores: 2, Files: minFiles, MaxConns: 100,
	}
}

func TestTheBalancersConfigurationIsValidAndComplete(t *testing.T) {
	for _, session := range []bool{false, true} {
		i := testInstallation(t)
		i.Session = session
		file, err := balancerPeer("loadbalancer").write(i)
		if err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(file, nil)
		if err != nil {
			t.Fatalf("session %v: %v", session, err)
		}
		if len(c.Listen) != 2 || !slices.Equal(c.Discovery, []string{i.Discovery}) || (c.AccessLog.Path != "") != session {
			t.Errorf("session %v: %+v", session, c)
		}
	}
}

func TestThePeersTakeTheirConfigurations(t *testing.T) {
	for _, p := range peers(nil) {
		check := map[string][]string{"haproxy": {"-c"}, "nginx": {"-t"}}[p.binary]
		t.Run(p.name, func(t *testing.T) {
			if _, err := exec.LookPath(p.binary); err != nil {
				t.Skip(err)
			}
			for _, session := range []bool{false, true} {
				i := testInstallation(t)
				i.Session = session
				file, err := p.write(i)
				if err != nil {
					t.Fatal(err)
				}
				if out, err := exec.Command(p.binary, append(check, p.args(file, i)...)...).CombinedOutput(); err != nil {
					text, _ := os.ReadFile(file)
					t.Errorf("%v: %s\n%s", err, out, text)
				}
			}
		})
	}
}

func TestVariantsDifferInTheirOption(t *testing.T) {
	want := map[string]string{"haproxy-splice": "option splice-auto", "nginx-large": "proxy_buffers 16 32k"}
	for _, p := range peers(nil) {
		file, err := p.write(testInstallation(t))
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for name, option := range want {
			if has := strings.Contains(string(text), option); has != (p.name == name) {
				t.Errorf("%s: %q in its configuration: %v", p.name, option, has)
			}
		}
	}
}

func TestPeersThatAreNotInstalledAreLeftOutUnlessRequired(t *testing.T) {
	all := []peer{{name: "a", binary: "/bin/sh"}, {name: "b", binary: "/no/such/program"}}
	there, missing, err := lookUp(all, func(peer) bool { return false })
	if err != nil || len(there) != 1 || !slices.Equal(missing, []string{"b"}) {
		t.Errorf("%v, %v, %v", there, missing, err)
	}
	if _, _, err := lookUp(all, func(peer) bool { return true }); err == nil || !strings.Contains(err.Error(), "b: ") {
		t.Error(err)
	}
}

func TestBalancersHaveTheNamesTheyAreGiven(t *testing.T) {
	all := peers([]string{"old=/tmp/a=b", "bin/loadbalancer"})
	if all[0].name != "old" || all[0].binary != "/tmp/a=b" || all[1].name != "loadbalancer" || all[1].binary != "bin/loadbalancer" {
		t.Errorf("%+v", all[:2])
	}
}
