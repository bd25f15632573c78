package server

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/discoverytest"
)

// logged runs a script against a logSink and returns the messages of its log.
func logged(t *testing.T, script func(*logSink)) []string {
	t.Helper()
	var out bytes.Buffer
	h := slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}})
	script(newLogSink(discoverytest.NewRecorder(t), slog.New(h)))
	return strings.Split(strings.TrimSpace(out.String()), "\n")
}

func expectLogged(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("logged %d lines, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("line %d is %q, want %q in it", i, got[i], want[i])
		}
	}
}

func TestAnOutageIsLoggedOnceAndItsEndToo(t *testing.T) {
	got := logged(t, func(s *logSink) {
		s.Failed(errors.New("refused"))
		s.Failed(errors.New("refused"))
		s.Failed(errors.New("wrong password"))
		s.Synced()
		s.Synced()
		s.Failed(errors.New("refused"))
	})
	expectLogged(t, got, "refused", "wrong password", "in step again", "refused")
}

func TestARejectedItemIsLoggedOnceUntilItChanges(t *testing.T) {
	bad := discovery.Problem{Key: "/lb/services/web/a", Code: discovery.CodeBadURL, Detail: "no port"}
	worse := bad
	worse.Detail = "no host"
	got := logged(t, func(s *logSink) {
		s.Reject(bad)
		s.Reject(bad)
		s.Reject(worse)
		s.Accept(bad.Key)
		s.Accept(bad.Key)
		s.Reject(bad)
	})
	expectLogged(t, got, "no port", "no host", "taken or gone", "no port")
}

func TestAResyncForgetsWhatItDidNotReject(t *testing.T) {
	a := discovery.Problem{Key: "a", Code: discovery.CodeBadURL, Detail: "no port"}
	b := discovery.Problem{Key: "b", Code: discovery.CodeBadURL, Detail: "no port"}
	got := logged(t, func(s *logSink) {
		s.Reject(a)
		s.Reject(b)
		s.Resync("reconnect")
		s.Reject(a)
		s.Synced()
		s.Reject(a)
		s.Reject(b)
	})
	expectLogged(t, got, "key=a", "key=b", "key=b")
}
