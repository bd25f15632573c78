package admin

import (
	"strings"
	"testing"
)

func TestOffLoopbackTheAddressWantsAToken(t *testing.T) {
	for _, c := range []struct {
		addr, token string
		wrong       string // part of the error; empty for none
	}{
		{"127.0.0.1:9901", "", ""},
		{"127.8.9.10:0", "", ""},
		{"[::1]:9901", "", ""},
		{"[::ffff:127.0.0.1]:9901", "", ""},
		{"localhost:9901", "", ""},
		{"LocalHost:9901", "", ""},
		{":9901", "secret", ""},
		{"10.0.0.5:9901", "secret", ""},
		{":9901", "", "every interface"},
		{"0.0.0.0:9901", "", "not loopback"},
		{"[::]:9901", "", "not loopback"},
		{"10.0.0.5:9901", "", "not loopback"},
		{"localhost.example.com:9901", "", "not loopback"},
		{"127.0.0.1.example.com:9901", "", "not loopback"},
		{"lb:9901", "", "not loopback"},
		{"127.0.0.1", "", "not host:port"},
		{"127.0.0.1:", "", "not host:port"},
		{"", "secret", "not host:port"},
	} {
		err := CheckAddress(c.addr, c.token)
		switch {
		case c.wrong == "" && err != nil:
			t.Errorf("%q with token %q is refused: %v", c.addr, c.token, err)
		case c.wrong != "" && err == nil:
			t.Errorf("%q with token %q is taken", c.addr, c.token)
		case c.wrong != "" && !strings.Contains(err.Error(), c.wrong):
			t.Errorf("%q with token %q is refused with %q, want %q in it", c.addr, c.token, err, c.wrong)
		}
	}
}
