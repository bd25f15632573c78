//go:build linux

package main

import (
	"embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
)

// installation is what the configuration of one run of a proxy is written from.
type installation struct {
	// Run is a directory of its own.
	Run string
	// Clear, TLS and Admin are the addresses to listen on.
	Clear, TLS, Admin string
	Backends          []string
	// Discovery is where the backends are announced.
	Discovery string
	// Cert and Key are files; Pair is one with both.
	Cert, Key, Pair string
	// AccessLog is the file that lines go to if there is one; standard output ends there too.
	AccessLog string
	// Cores is how many CPUs the proxy may use, Files how many descriptors, MaxConns how many connections it must bear.
	Cores, Files, MaxConns int
	Session                bool
	Splice, LargeBuffers   bool
}

// peer is a proxy that takes part.
type peer struct {
	name    string
	binary  string
	config  string // in configs
	args    func(config string, i installation) []string
	version []string
	adjust  func(*installation) // what sets a variant apart, may be nil
	joins   func(scenario) bool // nil for every scenario
}

//go:embed configs
var configs embed.FS

// write writes the peer's configuration and returns its file.
func (p peer) write(i installation) (string, error) {
	if p.adjust != nil {
		p.adjust(&i)
	}
	t, err := template.New(p.config).Funcs(template.FuncMap{"port": port}).ParseFS(configs, "configs/"+p.config)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.Execute(&b, i); err != nil {
		return "", err
	}
	file := filepath.Join(i.Run, p.config)
	return file, os.WriteFile(file, []byte(b.String()), 0o600)
}

func port(addr string) (string, error) {
	_, p, err := net.SplitHostPort(addr)
	return p, err
}

// tell returns the line in which the peer's program tells its version.
func (p peer) tell() string {
	out, err := exec.Command(p.binary, p.version...).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// balancerConfig is the configuration of this balancer, whatever the name that its binary goes by.
const balancerConfig = "loadbalancer.yaml"

// baseline is the peer that the others are compared with.
const baseline = "haproxy"

// splicing is the baseline's variant that may pass large bodies on unseen, which those who do are compared with too.
const splicing = "haproxy-splice"

// balancerPeer is a binary of this balancer: FILE, or NAME=FILE where several are compared.
func balancerPeer(spec string) peer {
	name, binary, ok := strings.Cut(spec, "=")
	if !ok {
		name, binary = "loadbalancer", spec
	}
	return peer{
		name: name, binary: binary, config: balancerConfig, version: []string{"--version"},
		args: func(config string, _ installation) []string { return []string{"--config", config} },
	}
}

// peers are all that can take part: the balancers first.
func peers(balancers []string) []peer {
	var all []peer
	for _, spec := range balancers {
		all = append(all, balancerPeer(spec))
	}
	haproxy := peer{
		name: baseline, binary: "haproxy", config: "haproxy.cfg", version: []string{"-v"},
		args: func(config string, _ installation) []string { return []string{"-db", "-f", config} },
	}
	nginx := peer{
		name: "nginx", binary: "nginx", config: "nginx.conf", version: []string{"-v"},
		args: func(config string, i installation) []string {
			return []string{"-p", i.Run, "-e", filepath.Join(i.Run, "error.log"), "-c", config}
		},
		joins: func(s scenario) bool { return !s.session }, // cookies of sessions are not in the free edition
	}
	splice, large := haproxy, nginx
	splice.name = splicing
	splice.adjust = func(i *installation) { i.Splice = true }
	splice.joins = func(s scenario) bool { return max(s.answer, s.spec.Body) >= 64<<10 }
	large.name = "nginx-large"
	large.adjust = func(i *installation) { i.LargeBuffers = true }
	large.joins = func(s scenario) bool { return s.answer >= 64<<10 }
	return append(all, haproxy, splice, nginx, large)
}

// lookUp replaces the peers' programs by their absolute paths, and leaves out those that are not installed, which it tells.
func lookUp(all []peer, required func(peer) bool) (there []peer, missing []string, err error) {
	for _, p := range all {
		path, err := exec.LookPath(p.binary)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil && required(p) {
			return nil, nil, fmt.Errorf("%s: %w", p.name, err)
		}
		if err != nil {
			missing = append(missing, p.name)
			continue
		}
		p.binary = path
		there = append(there, p)
	}
	return there, missing, nil
}
