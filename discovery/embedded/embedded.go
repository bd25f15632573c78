package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"

	"github.com/vietddude/load-balancer/internal/zapslog"
)

// Server is an etcd server that runs. Its methods may be called concurrently.
type Server struct {
	etcd     *embed.Etcd
	endpoint string
	log      *slog.Logger
	closing  atomic.Bool

	temp string               // the folder to remove, empty when dir was given
	dir  string               // where the data lies
	lock *fileutil.LockedFile // nil for a temporary folder
	once sync.Once            // guards Close

	// mu guards grpc, the servers that answer clients.
	mu   sync.Mutex
	grpc []*grpc.Server
}

// Start runs a server and returns when it answers. When the context ends before that, or an address cannot be listened
// on, it fails and leaves nothing behind; a context that ends later changes nothing. The server runs until
// [Server.Close].
func Start(ctx context.Context, o Options) (*Server, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("embedded etcd: %w", err)
	}
	s := &Server{log: o.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	cfg, err := config(o, slog.New(gate{s.log.Handler(), &s.closing}))
	if err != nil {
		return nil, err
	}
	if err := s.takeDir(o.Dir); err != nil {
		return nil, err
	}
	cfg.Dir = filepath.Join(s.dir, "etcd")
	if s.temp != "" {
		cfg.UnsafeNoFsync = true
		cfg.BcryptCost = 4 // the least there is: passwords in a store that is thrown away protect nothing
	}
	cfg.ServiceRegister = s.keepServer
	if err := s.start(ctx, cfg); err != nil {
		s.leaveDir()
		return nil, err
	}
	return s, nil
}

// config is everything but the folder.
func config(o Options, log *slog.Logger) (*embed.Config, error) {
	least, ok := levels[o.LogLevel]
	if !ok {
		return nil, fmt.Errorf("embedded etcd: unknown log level %q; want debug, info, warn or error", o.LogLevel)
	}
	if err := o.TLS.check(); err != nil {
		return nil, err
	}
	client, err := listenURL("client", o.TLS.scheme(), o.ClientAddr)
	if err != nil {
		return nil, err
	}
	peer, err := listenURL("peer", "http", o.PeerAddr)
	if err != nil {
		return nil, err
	}
	cfg := embed.NewConfig()
	cfg.Name = "embedded"
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.InitialClusterToken = rand.Text() // makes the id of a new cluster unlike any other's
	cfg.ClientTLSInfo.CertFile, cfg.ClientTLSInfo.KeyFile = o.TLS.CertFile, o.TLS.KeyFile
	cfg.ClientTLSInfo.TrustedCAFile, cfg.ClientTLSInfo.ClientCertAuth = o.TLS.ClientCAFile, o.TLS.ClientCAFile != ""
	cfg.EnableGRPCGateway = false // it dials the server's own address, and nobody needs it
	// A member without peers elects itself; nothing is gained by waiting a second for others first.
	cfg.TickMs, cfg.ElectionMs = 20, 200
	if o.TokenTTL > 0 {
		cfg.AuthTokenTTL = uint(max(o.TokenTTL.Seconds(), 1))
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapslog.New(log, least))
	return cfg, nil
}

// start runs the server and waits until it is ready.
func (s *Server) start(ctx context.Context, cfg *embed.Config) error {
	for what, u := range map[string]url.URL{"client": cfg.ListenClientUrls[0], "peer": cfg.ListenPeerUrls[0]} {
		if err := probe(what, u.Host); err != nil {
			return err
		}
	}
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("embedded etcd: start: %w", err)
	}
	s.etcd = e
	select {
	case <-e.Server.ReadyNotify():
	case err := <-e.Err():
		s.stop()
		return fmt.Errorf("embedded etcd: start: %w", err)
	case <-e.Server.StopNotify():
		s.stop()
		return errors.New("embedded etcd: the server stopped while it started")
	case <-ctx.Done():
		s.stop()
		return fmt.Errorf("embedded etcd: not ready in time: %w", context.Cause(ctx))
	}
	s.endpoint = cfg.ListenClientUrls[0].Scheme + "://" + reachable(e.Clients[0].Addr())
	s.log.Debug("embedded etcd is ready", "endpoint", s.endpoint, "dir", cfg.Dir)
	return nil
}

// stop ends the server. Left to itself, etcd waits 5 s for watches to end, which never do.
func (s *Server) stop() {
	s.closing.Store(true)
	s.mu.Lock()
	servers := s.grpc
	s.mu.Unlock()
	for _, g := range servers {
		g.Stop()
	}
	s.etcd.Close()
}

// keepServer is called by etcd with each gRPC server that it makes.
func (s *Server) keepServer(g *grpc.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grpc = append(s.grpc, g)
}

// probe listens on an address for an instant, to tell an address that cannot be had in words that name it.
func probe(what, addr string) error {
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("embedded etcd: the %s address %s is in use; choose another one or port 0", what, addr)
	case err != nil:
		return fmt.Errorf("embedded etcd: cannot listen on the %s address %s: %w", what, addr, err)
	}
	return l.Close()
}

// takeDir makes the folder and locks it: two servers on one folder would wait for each other without a word.
func (s *Server) takeDir(dir string) error {
	if dir == "" {
		temp, err := os.MkdirTemp("", "loadbalancer-etcd-")
		if err != nil {
			return fmt.Errorf("embedded etcd: %w", err)
		}
		s.temp, s.dir = temp, temp
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("embedded etcd: the data folder: %w", err)
	}
	name := filepath.Join(dir, "lock")
	lock, err := fileutil.TryLockFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return fmt.Errorf("embedded etcd: the data folder %s is in use by another server", dir)
	}
	if err != nil {
		return fmt.Errorf("embedded etcd: lock the data folder: %w", err)
	}
	s.lock, s.dir = lock, dir
	return nil
}

func (s *Server) leaveDir() {
	if s.lock != nil {
		s.lock.Close()
	}
	if s.temp != "" {
		if err := os.RemoveAll(s.temp); err != nil {
			s.log.Warn("embedded etcd: the temporary folder stays", "dir", s.temp, "err", err)
		}
	}
}

// reachable is a listener's address as a client on this machine uses it.
func reachable(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return a.String()
}

// Endpoint is where clients on this machine connect, as http://host:port or https://host:port.
func (s *Server) Endpoint() string { return s.endpoint }

// Close ends the server and all its connections, and returns when its goroutines have ended and its temporary folder is
// gone. Further calls wait for the first.
func (s *Server) Close() {
	s.once.Do(func() {
		s.stop()
		s.leaveDir()
	})
}
