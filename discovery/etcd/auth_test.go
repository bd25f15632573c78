package etcd

import (
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vietddude/load-balancer/discovery/discoverytest"
	"github.com/vietddude/load-balancer/discovery/embedded"
)

// guarded is a store with authentication: root may do everything, reader read /lb/, and stranger nothing.
func guarded(t *testing.T) *store {
	t.Helper()
	s := newStore(t, embedded.Options{TokenTTL: time.Second})
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{"root", "reader", "stranger"} {
		must(s.UserAdd(s.ctx, user, "hunter2-"+user))
	}
	must(s.RoleAdd(s.ctx, "root"))
	must(s.RoleAdd(s.ctx, "lb"))
	must(s.RoleGrantPermission(s.ctx, "lb", "/lb/", clientv3.GetPrefixRangeEnd("/lb/"), clientv3.PermissionType(clientv3.PermRead)))
	must(s.UserGrantRole(s.ctx, "root", "root"))
	must(s.UserGrantRole(s.ctx, "reader", "lb"))
	must(s.AuthEnable(s.ctx))
	s.Client = s.connect(t, clientv3.Config{Username: "root", Password: "hunter2-root"})
	return s
}

func TestReadingThePrefixIsAllTheRightThatIsNeeded(t *testing.T) {
	s := guarded(t)
	rec := s.follow(t, Options{Username: "reader", Password: "hunter2-reader"})
	s.put(t, key("web", "a"), "10.0.0.1:80")
	rec.Await(s.ctx, serves("http://10.0.0.1:80"))
}

func TestALoginThatHasExpiredIsRenewed(t *testing.T) {
	t.Parallel()
	s := guarded(t)
	rec := s.follow(t, Options{Username: "reader", Password: "hunter2-reader"})
	time.Sleep(2500 * time.Millisecond) // the server's own clock ends the login after 1 s, and checks every second
	s.put(t, key("web", "a"), "10.0.0.1:80")
	rec.Await(s.ctx, serves("http://10.0.0.1:80"))
	s.net.Reset()
	s.put(t, key("web", "b"), "10.0.0.2:80")
	got := rec.Await(s.ctx, serves("http://10.0.0.1:80", "http://10.0.0.2:80"))
	if len(got.Failures) != 0 {
		t.Errorf("failures %v, want none", got.Failures)
	}
}

func TestARefusedLoginIsToldWithWhatToDo(t *testing.T) {
	s := guarded(t)
	for name, c := range map[string]struct{ user, password, want string }{
		"wrong password": {"reader", "hunter2-wrong", `check the user "reader" and its password`},
		"unknown user":   {"nobody", "hunter2-x", `check the user "nobody" and its password`},
		"no login":       {"", "", "give a user and password"},
		"no right":       {"stranger", "hunter2-stranger", `grant the user "stranger" read on the prefix /lb/`},
	} {
		t.Run(name, func(t *testing.T) {
			rec := discoverytest.NewRecorder(t)
			discoverytest.Start(t, s.source(t, Options{Username: c.user, Password: c.password}), rec)
			got := rec.Await(s.ctx, failed).Err.Error()
			if !strings.Contains(got, c.want) || strings.Contains(got, "hunter2") {
				t.Errorf("the outage is %q, want %q in it and no password", got, c.want)
			}
		})
	}
}

func TestARefusalAfterAnOutageIsToldAnew(t *testing.T) {
	s := guarded(t)
	s.net.Cut()
	rec := discoverytest.NewRecorder(t)
	discoverytest.Start(t, s.source(t, Options{Username: "reader", Password: "wrong"}), rec)
	rec.Await(s.ctx, failed)
	heal(t, s.net)
	rec.Await(s.ctx, func(s state) bool { return strings.Contains(s.Err.Error(), "check the user") })
}

func TestALoginWhereNoneIsNeededDoesNoHarm(t *testing.T) {
	newStore(t, embedded.Options{}).follow(t, Options{Username: "reader", Password: "x"})
}
