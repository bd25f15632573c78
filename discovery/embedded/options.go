package embedded

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap/zapcore"
)

// Options configure a [Server]. The zero value runs a server that forgets everything, on free loopback ports.
type Options struct {
	// Dir is where the data lies, made if need be; empty means a temporary folder that Close removes.
	Dir string
	// ClientAddr is the host:port for clients; the host is an IP address or localhost, port 0 picks a free one. Empty
	// means 127.0.0.1:0.
	ClientAddr string
	// PeerAddr is the host:port that other members would use. There are none, but the server insists on listening.
	// Empty means 127.0.0.1:0.
	PeerAddr string
	// LogLevel is the least level of the server's own messages that reach Logger: debug, info, warn or error; empty
	// means error, since the server is talkative about what does not matter to a single member.
	LogLevel string
	// Logger takes the server's messages; nil discards them.
	Logger *slog.Logger
	// TLS makes clients use https.
	TLS TLS
	// TokenTTL is how long a client's login lasts when authentication has been enabled in the store; 0 means etcd's
	// default of 5 min. The shortest is 1 s.
	TokenTTL time.Duration
}

// TLS are the files of a server that clients talk to by https.
type TLS struct {
	// CertFile and KeyFile are the server's pair; empty means no TLS.
	CertFile, KeyFile string
	// ClientCAFile makes clients show a certificate from that authority.
	ClientCAFile string
}

func (t TLS) scheme() string {
	if t.CertFile != "" {
		return "https"
	}
	return "http"
}

// check reads the TLS files once, so that a mistake is told with its name.
func (t TLS) check() error {
	if t.CertFile == "" && t.KeyFile == "" && t.ClientCAFile == "" {
		return nil
	}
	if _, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile); err != nil {
		return fmt.Errorf("embedded etcd: the certificate and key %q and %q: %w", t.CertFile, t.KeyFile, err)
	}
	return nil
}

var levels = map[string]zapcore.Level{
	"": zapcore.ErrorLevel, "debug": zapcore.DebugLevel, "info": zapcore.InfoLevel,
	"warn": zapcore.WarnLevel, "error": zapcore.ErrorLevel,
}

// listenURL makes the URL that etcd is told to listen on.
func listenURL(what, scheme, addr string) (url.URL, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return url.URL{}, fmt.Errorf("embedded etcd: the %s address %q: want host:port: %w", what, addr, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65535 {
		return url.URL{}, fmt.Errorf("embedded etcd: the %s address %q: the port must be 0 to 65535", what, addr)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if net.ParseIP(host) == nil {
		return url.URL{}, fmt.Errorf("embedded etcd: the %s address %q: the host must be an IP address or localhost", what, addr)
	}
	return url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}, nil
}
