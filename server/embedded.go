package server

import (
	"context"
	"log/slog"
	"sync"

	"github.com/vietddude/load-balancer/discovery/embedded"
)

// embeddedEtcd is the etcd server inside the process. It is started when first asked for and ends with the balancer.
type embeddedEtcd struct {
	address string
	log     *slog.Logger

	mu     sync.Mutex // guards server
	server *embedded.Server
}

// start starts the server unless it runs, and returns its endpoint.
func (e *embeddedEtcd) start(ctx context.Context) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server == nil {
		addr := e.address
		if addr == "" {
			addr = DefaultEtcdAddress
		}
		srv, err := embedded.Start(ctx, embedded.Options{ClientAddr: addr, Logger: e.log})
		if err != nil {
			return "", err
		}
		e.server = srv
	}
	return e.server.Endpoint(), nil
}

func (e *embeddedEtcd) endpoint() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server == nil {
		return ""
	}
	return e.server.Endpoint()
}

func (e *embeddedEtcd) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server != nil {
		e.server.Close()
		e.server = nil
	}
}
