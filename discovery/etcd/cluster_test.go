package etcd

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/vietddude/load-balancer/discovery/discoverytest"
	"github.com/vietddude/load-balancer/discovery/embedded"
	"github.com/vietddude/load-balancer/internal/faultnet"
)

// member is one of the servers of a cluster.
type member struct {
	config *embed.Config
	etcd   *embed.Etcd

	mu   sync.Mutex
	grpc []*grpc.Server // that answer clients
}

// cluster is three etcd servers.
type cluster struct {
	members [3]*member
	ctx     context.Context
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	c := &cluster{ctx: ctx}
	var peers []string
	for i := range c.members {
		cfg := embed.NewConfig()
		cfg.Name, cfg.Dir = fmt.Sprint("m", i), t.TempDir()
		client, peer := freeURL(t), freeURL(t)
		cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
		cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
		cfg.TickMs, cfg.ElectionMs, cfg.UnsafeNoFsync, cfg.EnableGRPCGateway = 20, 400, true, false
		cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
		peers = append(peers, cfg.Name+"="+peer.String())
		c.members[i] = &member{config: cfg}
	}
	for _, m := range c.members {
		m.config.InitialCluster = strings.Join(peers, ",")
	}
	for _, m := range c.members {
		m.start(t)
		t.Cleanup(m.stop)
	}
	for _, m := range c.members {
		<-m.etcd.Server.ReadyNotify()
	}
	return c
}

// freeURL is an address that nobody listened on a moment ago.
func freeURL(t *testing.T) url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return url.URL{Scheme: "http", Host: l.Addr().String()}
}

func (m *member) start(t *testing.T) {
	t.Helper()
	m.config.ServiceRegister = func(s *grpc.Server) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.grpc = append(m.grpc, s)
	}
	var err error
	if m.etcd, err = embed.StartEtcd(m.config); err != nil {
		t.Fatal(err)
	}
}

// stop ends the server, if it runs, without waiting for its clients.
func (m *member) stop() {
	if m.etcd == nil {
		return
	}
	m.mu.Lock()
	for _, s := range m.grpc {
		s.Stop()
	}
	m.grpc = nil
	m.mu.Unlock()
	m.etcd.Close()
	m.etcd = nil
}

func (m *member) addr() string { return m.config.ListenClientUrls[0].Host }

// client is a client of one member.
func (c *cluster) client(t *testing.T, m *member) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{m.addr()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// follow starts a source of these members.
func (c *cluster) follow(t *testing.T, members ...*member) *discoverytest.Recorder {
	t.Helper()
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, m.addr())
	}
	src, err := New(Options{Endpoints: endpoints, Liveness: 2 * time.Second, DialTimeout: time.Second, Decoder: decoder{}})
	if err != nil {
		t.Fatal(err)
	}
	rec := discoverytest.NewRecorder(t)
	discoverytest.Start(t, src, rec)
	return rec
}

func put1(t *testing.T, ctx context.Context, c *clientv3.Client, id, addr string) {
	t.Helper()
	if _, err := c.Put(ctx, key("web", id), addr); err != nil {
		t.Fatal(err)
	}
}

func TestANewLeaderIsNoOutage(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	rec := c.follow(t, c.members[:]...)
	rec.AwaitInStep(c.ctx)
	leader := c.members[slices.IndexFunc(c.members[:], func(m *member) bool { return m.etcd.Server.Leader() == m.etcd.Server.MemberID() })]
	client := c.client(t, leader)
	if err := leader.etcd.Server.TryTransferLeadershipOnShutdown(); err != nil {
		t.Fatal(err)
	}
	put1(t, c.ctx, client, "a", "10.0.0.1:80")
	got := rec.Await(c.ctx, serves("http://10.0.0.1:80"))
	if len(got.Failures) != 0 || len(got.Resyncs) != 1 {
		t.Errorf("failures %v, resyncs %v; want none, and that of the start", got.Failures, got.Resyncs)
	}
}

func TestAMemberWithoutQuorumIsLeftOrToldOf(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	put1(t, c.ctx, c.client(t, c.members[0]), "a", "10.0.0.1:80")
	rec := c.follow(t, c.members[0])
	rec.Await(c.ctx, serves("http://10.0.0.1:80"))
	c.members[1].stop()
	c.members[2].stop()
	got := rec.Await(c.ctx, failed)
	if len(got.URLs("web")) != 1 || !strings.Contains(got.Err.Error(), "leader") {
		t.Errorf("the outage is %v, and web has %v; want the leader to be missed, and a", got.Err, got.URLs("web"))
	}
	c.members[1].start(t)
	rec.Await(c.ctx, serves("http://10.0.0.1:80"))
	put1(t, c.ctx, c.client(t, c.members[1]), "b", "10.0.0.2:80")
	rec.Await(c.ctx, serves("http://10.0.0.1:80", "http://10.0.0.2:80"))
}

// twoWays is a store that a source reaches over two networks, as if it were two members.
func twoWays(t *testing.T) (*store, [2]*faultnet.Proxy, *discoverytest.Recorder) {
	s := newStore(t, embedded.Options{})
	other, err := faultnet.New(s.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	src := s.source(t, Options{})
	src.opts.Endpoints = []string{s.net.Addr(), other.Addr()}
	rec := discoverytest.NewRecorder(t)
	discoverytest.Start(t, src, rec)
	rec.AwaitInStep(s.ctx)
	return s, [2]*faultnet.Proxy{s.net, other}, rec
}

func TestASilentMemberIsLeftForTheNextWhileItStaysSilent(t *testing.T) {
	t.Parallel()
	s, ways, rec := twoWays(t)
	// Whichever of the two is in use, one of them falls silent under the source.
	for i, way := range ways {
		way.Freeze()
		s.put(t, key("web", "a"), fmt.Sprintf("10.0.0.%d:80", i+1))
		rec.Await(s.ctx, serves(fmt.Sprintf("http://10.0.0.%d:80", i+1)))
		heal(t, way)
	}
	if got := rec.State(); len(got.Resyncs) < 2 {
		t.Errorf("resyncs are %v; want another member to be listed", got.Resyncs)
	}
}

func TestAMemberThatDoesNotAnswerDelaysNothingForLong(t *testing.T) {
	t.Parallel()
	s := newStore(t, embedded.Options{})
	silent, err := faultnet.New(s.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(silent.Close)
	silent.Freeze()
	for first := range 2 {
		r := &run{Source: s.source(t, Options{DialTimeout: 30 * time.Second}), member: first}
		r.opts.Endpoints = []string{silent.Addr(), s.net.Addr()}
		d, err := r.dial(s.ctx) // bounded by less than the silent one's time
		if err != nil {
			t.Fatal(err)
		}
		if d.member != 1 {
			t.Errorf("the member taken is %d, which is silent", d.member)
		}
		if d.close(); r.member != 0 {
			t.Errorf("the next to be tried first is %d, want the other", r.member)
		}
	}
}

func TestTheErrorOfTheMemberThatTellsMostIsTold(t *testing.T) {
	t.Parallel()
	s := guarded(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := l.Addr().String()
	l.Close()
	src := s.source(t, Options{Username: "reader", Password: "wrong"})
	src.opts.Endpoints = []string{down, s.net.Addr(), down}
	rec := discoverytest.NewRecorder(t)
	discoverytest.Start(t, src, rec)
	if got := rec.Await(s.ctx, failed); !strings.Contains(got.Err.Error(), "check the user") {
		t.Errorf("the outage is %v; want the password to be blamed", got.Err)
	}
}

func TestABackupThatIsRestoredIsFollowedThoughItsRevisionsGoBackwards(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStore(t, embedded.Options{Dir: filepath.Join(dir, "data")})
	s.put(t, key("web", "old"), "10.0.0.1:80")
	addr := s.addr()
	reopen := func() {
		t.Helper()
		server, err := embedded.Start(s.ctx, embedded.Options{ClientAddr: addr, Dir: filepath.Join(dir, "data")})
		if err != nil {
			t.Fatal(err)
		}
		s.server = server
		s.Client = s.connect(t, clientv3.Config{})
	}
	s.server.Close()
	if err := os.CopyFS(filepath.Join(dir, "backup"), os.DirFS(filepath.Join(dir, "data"))); err != nil {
		t.Fatal(err)
	}
	reopen()
	for i := range 20 {
		s.put(t, key("web", "old"), fmt.Sprintf("10.0.1.%d:80", i+1))
	}
	s.put(t, key("web", "new"), "10.0.0.9:80")
	rec := s.follow(t, Options{})
	rec.Await(s.ctx, serves("http://10.0.0.9:80", "http://10.0.1.20:80"))
	listed, anew := make(chan struct{}, 1), make(chan struct{}, 1)
	mirror := s.open(t)
	go func() {
		told := func(c chan struct{}) {
			select {
			case c <- struct{}{}:
			default:
			}
		}
		_ = mirror.Follow(t.Context(), "services/", Mirror{
			Changed: func(map[string]KeyValue, []string, int64) { told(listed) },
			Anew:    func() { told(anew) },
		})
	}()
	<-listed
	s.server.Close()
	if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "backup"), filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	reopen()
	got := rec.Await(s.ctx, serves("http://10.0.0.1:80"))
	if !slices.Contains(got.Resyncs, "index-reset") {
		t.Errorf("resyncs are %v, want an index-reset", got.Resyncs)
	}
	<-anew
	s.put(t, key("web", "next"), "10.0.0.8:80")
	rec.Await(s.ctx, serves("http://10.0.0.8:80", "http://10.0.0.1:80"))
}

func TestAPrefixThatIsDeletedAndWrittenAnewIsFollowed(t *testing.T) {
	t.Parallel()
	s := newStore(t, embedded.Options{})
	s.put(t, key("web", "a"), "10.0.0.1:80")
	s.put(t, key("api", "a"), "10.0.0.1:80")
	rec := s.follow(t, Options{})
	if _, err := s.Delete(s.ctx, "/lb/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	rec.Await(s.ctx, func(s state) bool { return len(s.Services) == 0 })
	s.put(t, key("web", "a"), "10.0.0.2:80")
	if got := rec.Await(s.ctx, serves("http://10.0.0.2:80")); len(got.Services) != 1 || len(got.Resyncs) != 1 {
		t.Errorf("want web alone, and no resync but the first:\n%v", got)
	}
}
