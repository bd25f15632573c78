// Package demo holds what is balanced when there is nothing to balance yet: small backends, and their registration in
// etcd.
package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxSlow bounds how long /slow waits.
const maxSlow = time.Minute

// Options configure a backend.
type Options struct {
	// Addr is where it listens; empty means a free port of 127.0.0.1.
	Addr string
	// Name is what it calls itself.
	Name string
}

// Server is a backend that runs.
type Server struct {
	http *http.Server
	addr net.Addr
	done chan struct{} // closed when serving has ended
}

// Start starts a backend. It answers /health with 200, /slow?ms=N after that time, /status/N with that status, /echo
// with the request's body, and everything else with a few lines that tell its name and what it was asked.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("backend %s: %w", o.Name, err)
	}
	s := &Server{
		http: &http.Server{Handler: handler(o.Name), ReadHeaderTimeout: 10 * time.Second},
		addr: ln.Addr(),
		done: make(chan struct{}),
	}
	go s.serve(ln)
	return s, nil
}

func (s *Server) serve(ln net.Listener) {
	defer close(s.done)
	_ = s.http.Serve(ln) // http.ErrServerClosed, after Close
}

// Addr is where the backend listens.
func (s *Server) Addr() string { return s.addr.String() }

// URL is the backend's address as it is announced.
func (s *Server) URL() string { return "http://" + s.addr.String() }

// Close cuts all connections and returns when serving has ended.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	return err
}

func handler(name string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("/slow", slow(name))
	mux.HandleFunc("/status/{code}", status(name))
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { greet(w, r, name) })
	return mux
}

// echo sends back each part of the body as it comes.
func echo(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	_ = c.EnableFullDuplex() // HTTP/2 has it anyway
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil || c.Flush() != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// greet tells who answers and what of the request arrived.
func greet(w http.ResponseWriter, r *http.Request, name string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Backend", name)
	var b strings.Builder
	fmt.Fprintf(&b, "hello from %s\n%s %s %s\nHost: %s\n", name, r.Method, r.RequestURI, r.Proto, r.Host)
	var keys []string
	for k := range r.Header {
		if strings.HasPrefix(k, "X-Forwarded-") || k == "Forwarded" {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(&b, "%s: %s\n", k, strings.Join(r.Header.Values(k), ", "))
	}
	_, _ = io.WriteString(w, b.String())
}

func slow(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ms, err := strconv.Atoi(r.URL.Query().Get("ms"))
		d := time.Duration(ms) * time.Millisecond
		if err != nil || d < 0 || d > maxSlow {
			http.Error(w, fmt.Sprintf("want ?ms=0 to %d", maxSlow.Milliseconds()), http.StatusBadRequest)
			return
		}
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			greet(w, r, name)
		case <-r.Context().Done():
		}
	}
}

func status(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.PathValue("code"))
		if err != nil || code < 200 || code > 599 {
			http.Error(w, "want /status/200 to /status/599", http.StatusBadRequest)
			return
		}
		w.Header().Set("X-Backend", name)
		w.WriteHeader(code)
	}
}
