package probe

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/vietddude/load-balancer/internal/testcert"
)

// serveGRPC serves until the test ends, and returns the address.
func serveGRPC(t *testing.T, h healthpb.HealthServer, opts ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(opts...)
	if h != nil {
		healthpb.RegisterHealthServer(s, h)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-ended })
	return l.Addr().String()
}

func grpcTo(address, service string) *target {
	t := to("http://"+address, "")
	t.Options.Type, t.Options.GRPCService = GRPC, service
	return t
}

func TestAGRPCProbeGoesByTheServicesHealthOverOneConnection(t *testing.T) {
	h := health.NewServer()
	dials := 0
	c := checker{dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials++
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	target := grpcTo(serveGRPC(t, h), "web")
	steps := []struct {
		set  healthpb.HealthCheckResponse_ServingStatus
		want string
	}{
		{healthpb.HealthCheckResponse_SERVING, ""},
		{healthpb.HealthCheckResponse_NOT_SERVING, "NOT_SERVING, want SERVING"},
		{healthpb.HealthCheckResponse_UNKNOWN, "UNKNOWN, want SERVING"},
		{healthpb.HealthCheckResponse_SERVING, ""},
	}
	for i, s := range steps {
		h.SetServingStatus("web", s.set)
		if err := onceWith(t, &c, target); s.want == "" && err != nil {
			t.Errorf("step %d: %v", i, err)
		} else if s.want != "" {
			wantErr(t, err, s.want)
		}
	}
	for range 100 {
		if err := onceWith(t, &c, target); err != nil {
			t.Fatal(err)
		}
	}
	if dials != 1 {
		t.Errorf("%d connections, want 1", dials)
	}
}

func TestAGRPCServerWithoutTheServiceIsAFailureInWords(t *testing.T) {
	wantErr(t, once(t, grpcTo(serveGRPC(t, health.NewServer()), "nobody")), "the server does not know this service (NOT_FOUND)")
	wantErr(t, once(t, grpcTo(serveGRPC(t, nil), "")), "the server has no grpc.health.v1.Health (UNIMPLEMENTED)")
}

// judging answers what it is told to, and shows what it was asked with.
type judging struct {
	healthpb.UnimplementedHealthServer
	err   error
	asked chan metadata.MD
}

func (j *judging) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	j.asked <- md
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, j.err
}

func TestAGRPCProbeSendsHostAndHeadersAndTellsStatuses(t *testing.T) {
	j := &judging{asked: make(chan metadata.MD, 1), err: status.Error(codes.ResourceExhausted, "too busy\u00e9")}
	target := grpcTo(serveGRPC(t, j), "")
	target.Options.Host, target.Options.Headers = "health.example.com", "X-Token: abc"
	wantErr(t, once(t, target), `gRPC status 8: "too busyé"`)
	md := <-j.asked
	if md.Get(":authority")[0] != "health.example.com" || md.Get("x-token")[0] != "abc" {
		t.Errorf("asked with %v", md)
	}
}

func TestAConnectionThatTheGRPCServerClosedIsNoFailure(t *testing.T) {
	var last net.Conn
	c := checker{dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		last = conn
		return conn, err
	}}
	target := grpcTo(serveGRPC(t, health.NewServer()), "")
	for range 5 {
		if err := onceWith(t, &c, target); err != nil {
			t.Fatal(err)
		}
		last.(*net.TCPConn).CloseRead() // what is read next is the end, as if the server had closed
	}
}

func TestAGRPCProbeSpeaksTLS(t *testing.T) {
	cert := testcert.Write(t, t.TempDir(), "grpc.test")
	creds, err := credentials.NewServerTLSFromFile(cert.CertFile, cert.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	target := grpcTo(serveGRPC(t, health.NewServer(), grpc.Creds(creds)), "")
	target.Options.Scheme = "https"
	target.TLS = TLS{ServerName: "grpc.test", CAFile: cert.CertFile}
	if err := once(t, target); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoGRPCServerIsAFailure(t *testing.T) {
	address := func(url string) string { return url[len("http://"):] }
	err := once(t, grpcTo(address(script(t, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")), "x"))
	if err == nil {
		t.Error("an HTTP/1.1 server passed for gRPC")
	}
}

func FuzzHealthAnswer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := parseHealth(data); err == nil && s == serving && len(data) < 7 {
			t.Errorf("%x is serving", data)
		}
	})
}
