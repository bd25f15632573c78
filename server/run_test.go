package server

import (
	"context"
	"strings"
	"testing"

	"github.com/vietddude/load-balancer/config"
)

func TestAListenerThatFailsEndsTheBalancerWithItsError(t *testing.T) {
	for name, listener := range map[string]func(*Server) *door{
		"a client's": func(s *Server) *door { return s.doors[1] },
		"the admin":  func(s *Server) *door { return s.admin },
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(t.Context(), Options{Override: func(c *config.Config) error {
				l := c.Listen[0]
				l.Address, l.Port = "127.0.0.1", 0
				c.Listen = []config.Listener{l, l}
				c.Admin.Address = "127.0.0.1:0"
				c.Backends = []config.Backend{{ID: "a", URL: "http://127.0.0.1:1", Weight: 1}}
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			if err := listener(s).listen.Close(); err != nil {
				t.Fatal(err)
			}
			if err := s.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "serving 127.0.0.1:0") {
				t.Errorf("Run returned %v, want the listener's error", err)
			}
		})
	}
}
