package consul_test

import (
	"crypto/tls"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/discovery/consul"
	"github.com/vietddude/load-balancer/internal/consultest"
	"github.com/vietddude/load-balancer/internal/testcert"
)

func TestAnHTTPSAgentIsVerifiedAndShownTheClientsCertificate(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t, consultest.Options{})
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: agent.HTTPAddr})
	transport := &http.Transport{}
	to.Transport, to.ErrorLog = transport, silent
	server := httptest.NewUnstartedServer(to)
	server.Config.ErrorLog = silent
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	addr := strings.TrimPrefix(server.URL, "https://")
	pair := testcert.Write(t, t.TempDir(), "127.0.0.1")
	cert, key := pair.CertFile, pair.KeyFile
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}

	o, err := consul.ParseURL("consul://"+addr+"?scheme=https&ca="+ca+"&cert="+cert+"&key="+key, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	w := attach(t, agent, o)
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.rec.Await(w.ctx, both(inStep, are("web-1")))

	for want, o := range map[string]consul.Options{
		"certificate":              {Scheme: "https", TLS: consul.TLS{CertFile: cert, KeyFile: key}},            // of an unknown authority
		"certificate required":     {Scheme: "https", TLS: consul.TLS{CAFile: ca}},                              // of the client
		"certificate is valid for": {Scheme: "https", TLS: consul.TLS{CAFile: ca, ServerName: "other.invalid"}}, // not for that name
		"clear http there":         {Scheme: "https", Address: agent.HTTPAddr},                                  // https to an http port
		"add scheme=https":         {Scheme: "http", TLS: consul.TLS{CAFile: ca, CertFile: cert, KeyFile: key}}, // http to an https port
	} {
		if o.Address == "" {
			o.Address = addr
		}
		if s := attach(t, agent, o).rec.Await(w.ctx, failing); !strings.Contains(s.Err.Error(), want) {
			t.Errorf("the error is %q, want %q in it", s.Err, want)
		}
	}
}

func TestAnAgentIsReachedByItsSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "consul") // short: the names of sockets are bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	agent := consultest.Start(t, consultest.Options{Config: `addresses { http = "127.0.0.1 unix://` + socket + `" }`})
	w := attach(t, agent, consul.Options{Address: "unix://" + socket})
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.rec.Await(w.ctx, both(inStep, are("web-1")))
}

func TestTheDatacenterIsAskedFor(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t, consultest.Options{})
	w := attach(t, agent, consul.Options{Datacenter: "dc1"})
	w.register(&api.AgentServiceRegistration{ID: "web-1"})
	w.rec.Await(w.ctx, both(inStep, are("web-1")))
	if s := attach(t, agent, consul.Options{Datacenter: "nowhere"}).rec.Await(w.ctx, failing); !strings.Contains(s.Err.Error(), "check dc=") {
		t.Errorf("the error is %q, want a hint", s.Err)
	}
}

func TestNothingIsTakenFromTheEnvironmentBehindTheOptions(t *testing.T) {
	t.Setenv("CONSUL_HTTP_TOKEN", "other")
	t.Setenv("CONSUL_HTTP_TOKEN_FILE", "/nowhere")
	t.Setenv("CONSUL_NAMESPACE", "other")
	t.Setenv("CONSUL_PARTITION", "other")
	t.Setenv("CONSUL_HTTP_AUTH", "other:other")
	asked := make(chan *http.Request, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.Clone(r.Context()):
		default:
		}
		http.Error(w, "no", http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	for _, token := range []string{"", "mine"} {
		w := attach(t, &consultest.Agent{}, consul.Options{Address: strings.TrimPrefix(server.URL, "http://"), Token: token})
		w.rec.Await(w.ctx, failing)
		w.stop()
		for len(asked) > 0 {
			r := <-asked
			if got := r.Header.Get("X-Consul-Token"); got != token {
				t.Errorf("the token sent is %q, want %q", got, token)
			}
			if r.Header.Get("Authorization") != "" || strings.Contains(r.URL.RawQuery, "other") {
				t.Errorf("the request has something of the environment: %s %v", r.URL, r.Header)
			}
		}
	}
}
