package consul

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func environment(vars ...string) func(string) string {
	m := map[string]string{}
	for _, v := range vars {
		key, value, _ := strings.Cut(v, "=")
		m["CONSUL_"+key] = value
	}
	return func(key string) string { return m[key] }
}

func TestParseURL(t *testing.T) {
	for _, c := range []struct {
		raw  string
		env  []string
		want Options
	}{
		{raw: "consul://127.0.0.1:8500", want: Options{Address: "127.0.0.1:8500"}},
		{raw: "consul://agent", want: Options{Address: "agent:8500"}},
		{raw: "consul://[::1]", want: Options{Address: "[::1]:8500"}},
		{raw: "consul://s3cret@agent:1/?dc=eu&tag=lb", want: Options{Address: "agent:1", Token: "s3cret", Datacenter: "eu", Tag: "lb"}},
		{raw: "consul://agent:1?scheme=https&namespace=n&partition=p&server_name=x&verify=false&wait=3s", want: Options{
			Address: "agent:1", Scheme: "https", Namespace: "n", Partition: "p", Wait: 3 * time.Second, TLS: TLS{ServerName: "x", InsecureSkipVerify: true}}},
		{raw: "consul://agent:1?scheme=https&ca=/ca&cert=/c&key=/k", want: Options{
			Address: "agent:1", Scheme: "https", TLS: TLS{CAFile: "/ca", CertFile: "/c", KeyFile: "/k"}}},
		{raw: "consul://agent:1?token_file=/t", env: []string{"HTTP_TOKEN=no"}, want: Options{Address: "agent:1", TokenFile: "/t"}},
		{raw: "consul://agent:1", env: []string{"HTTP_ADDR=other:2", "HTTP_TOKEN=t", "HTTP_SSL=true", "NAMESPACE=n"}, want: Options{Address: "agent:1", Token: "t"}},
		{raw: "consul://agent:1", env: []string{"HTTP_TOKEN_FILE=/t", "HTTP_TOKEN=t"}, want: Options{Address: "agent:1", TokenFile: "/t"}},
		{raw: "consul://agent:1?liveness=20s&address=wan", want: Options{Address: "agent:1", Liveness: 20 * time.Second, TaggedAddress: "wan"}},
		{raw: "consul://t@a,b:1,[::1]/?max_stale=3s", want: Options{Address: "a:8500,b:1,[::1]:8500", Token: "t", MaxStale: 3 * time.Second}},
		{raw: "consul://a?failover_query=geo-{service}", want: Options{Address: "a:8500", FailoverQuery: "geo-{service}"}},
		{raw: "consul://a?failover=dc2,dc3", want: Options{Address: "a:8500", Failover: []string{"dc2", "dc3"}}},
		{raw: "consul", want: Options{}},
		{raw: "consul", env: []string{"HTTP_ADDR=agent:1", "HTTP_TOKEN=t", "NAMESPACE=n", "PARTITION=p"},
			want: Options{Address: "agent:1", Token: "t", Namespace: "n", Partition: "p"}},
		{raw: "consul", env: []string{"HTTP_ADDR=https://agent:1/"}, want: Options{Address: "agent:1", Scheme: "https"}},
		{raw: "consul", env: []string{"HTTP_ADDR=http://agent:1/consul", "HTTP_SSL=1"}, want: Options{Address: "agent:1/consul", Scheme: "https"}},
		{raw: "consul", env: []string{"HTTP_ADDR=unix:///run/consul"}, want: Options{Address: "unix:///run/consul"}},
		{raw: "consul", env: []string{"HTTP_SSL=true", "HTTP_SSL_VERIFY=false", "CACERT=/ca", "CAPATH=/p", "CLIENT_CERT=/c", "CLIENT_KEY=/k", "TLS_SERVER_NAME=n", "HTTP_AUTH=me:pass:word"},
			want: Options{Scheme: "https", User: "me", Password: "pass:word",
				TLS: TLS{CAFile: "/ca", CAPath: "/p", CertFile: "/c", KeyFile: "/k", ServerName: "n", InsecureSkipVerify: true}}},
	} {
		got, err := ParseURL(c.raw, environment(c.env...))
		if err != nil {
			t.Errorf("%s with %q: %v", c.raw, c.env, err)
		} else if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s with %q is\n%+v, want\n%+v", c.raw, c.env, got, c.want)
		}
	}
}

func TestParseURLRefusesWithoutTellingTheToken(t *testing.T) {
	for _, c := range []struct {
		raw  string
		env  []string
		want string // in the error
	}{
		{raw: "etcd://x", want: "scheme"},
		{raw: "consul://s3cret@", want: "host"},
		{raw: "consul:agent", want: "host"},
		{raw: "consul://s3cret@agent:99999", want: "65535"},
		{raw: "consul://s3cret@agent:x", want: "cannot be read"},
		{raw: "consul://s3cret%zz@agent", want: "cannot be read"},
		{raw: "consul://user:s3cret@agent", want: "password"},
		{raw: "consul://a/s3cret@agent", want: "path"},
		{raw: "consul://agent#s3cret", want: "fragment"},
		{raw: "consul://agent?token=s3cret", want: "before the @"},
		{raw: "consul://agent?colour=red", want: `"colour"`},
		{raw: "consul://agent?dc=a&dc=b", want: "2 times"},
		{raw: "consul://agent?verify=perhaps", want: "true or false"},
		{raw: "consul://agent?wait=5", want: "wait"},
		{raw: "consul://agent?wait=-5s", want: "wait"},
		{raw: "consul://agent?scheme=ftp", want: "http or https"},
		{raw: "consul://agent?cert=/c", want: "key"},
		{raw: "consul://s3cret@agent?token_file=/t", want: "token file"},
		{raw: "consul://s3cret%0a@agent", want: "characters"},
		{raw: "consul://agent?%zz", want: "parameters"},
		{raw: "consul", env: []string{"HTTP_SSL=perhaps"}, want: "CONSUL_HTTP_SSL"},
		{raw: "consul", env: []string{"HTTP_ADDR=ftp://agent"}, want: "CONSUL_HTTP_ADDR"},
		{raw: "consul", env: []string{"HTTP_ADDR=agent"}, want: "host:port"},
	} {
		o, err := ParseURL(c.raw, environment(c.env...))
		switch {
		case err == nil:
			t.Errorf("%s with %q was taken: %+v", c.raw, c.env, o)
		case !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: the error is %q, want %q in it", c.raw, err, c.want)
		case strings.Contains(err.Error(), "s3cret"):
			t.Errorf("the error tells the token: %q", err)
		}
	}
}

func TestNewReportsWhatCannotWork(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Name: "a b"}, "name"},
		{Options{Address: "agent"}, "host:port"},
		{Options{Liveness: -1}, "negative"},
		{Options{Scheme: "https", TLS: TLS{CAFile: "/nowhere"}}, "/nowhere"},
		{Options{Scheme: "https", TLS: TLS{CAPath: "/nowhere"}}, "/nowhere"},
		{Options{Scheme: "https", TLS: TLS{CAFile: "url_test.go"}}, "PEM"},
		{Options{Failover: []string{"dc2"}, FailoverQuery: "q"}, "leave one out"},
		{Options{FailoverQuery: "geo-{name}"}, "{service}"},
		{Options{FailoverQuery: "a/b"}, "name or an ID"},
		{Options{Scheme: "https", TLS: TLS{CertFile: "url_test.go", KeyFile: "url_test.go"}}, "certificate"},
	} {
		if _, err := New(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: the error is %v, want %q in it", c.o, err, c.want)
		}
	}
}

func TestABlockingQueryEndsWithinLiveness(t *testing.T) {
	for _, c := range []struct{ liveness, wait, want time.Duration }{
		{0, 0, 7500 * time.Millisecond}, {4 * time.Second, 0, 3 * time.Second},
		{4 * time.Second, time.Minute, 3 * time.Second}, {4 * time.Second, time.Second, time.Second},
	} {
		o, err := Options{Liveness: c.liveness, Wait: c.wait}.withDefaults()
		if err != nil || o.Wait != c.want {
			t.Errorf("%v and %v: waits %v (%v), want %v", c.liveness, c.wait, o.Wait, err, c.want)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"consul", "consul://", "consul://s3cret@a:1?dc=x", "consul://a/b@c", "consul:%", "consul://a?wait=1s&tag=%00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if o, err := ParseURL(raw, environment()); err == nil {
			if _, err := o.withDefaults(); err != nil {
				t.Errorf("%q is taken as %+v, which New refuses: %v", raw, o, err)
			}
		}
	})
}
