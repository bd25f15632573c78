package etcd

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestAURLSaysWhereAndHow(t *testing.T) {
	for _, c := range []struct {
		url       string
		env       func(string) string
		endpoints []string
		prefix    string
		user      string
		password  string
		tls       bool
	}{
		{"etcd://h1:2379", nil, []string{"h1:2379"}, "/lb", "", "", false},
		{"etcd://h1:2379/", nil, []string{"h1:2379"}, "/lb", "", "", false},
		{"etcd://h1,h2:4001/x/y/", nil, []string{"h1", "h2:4001"}, "/x/y", "", "", false},
		{"etcd://[::1]:2379/lb", nil, []string{"[::1]:2379"}, "/lb", "", "", false},
		{"etcd://root:pa%2Fss@h1:2379", nil, []string{"h1:2379"}, "/lb", "root", "pa/ss", false},
		{"etcd://root:a@b:c@h1:2379", nil, []string{"h1:2379"}, "/lb", "root", "a@b:c", false},
		{"etcd://root@h1", env("ETCDCTL_PASSWORD", "secret"), []string{"h1"}, "/lb", "root", "secret", false},
		{"etcd://h1", env("ETCDCTL_USER", "root:secret", "ETCDCTL_CACERT", "/none"), []string{"h1"}, "/lb", "", "", false},
		{"etcd://h1?scheme=https", nil, []string{"h1"}, "/lb", "", "", true},
		{"etcd://h1?insecure=true", nil, []string{"h1"}, "/lb", "", "", true},
		{"etcd", env("ETCDCTL_INSECURE_SKIP_TLS_VERIFY", "true"), []string{"127.0.0.1:2379"}, "/lb", "", "", false},
		{"etcd://h1?scheme=http", nil, []string{"h1"}, "/lb", "", "", false},
		{"etcd", nil, []string{"127.0.0.1:2379"}, "/lb", "", "", false},
		{"etcd://", nil, []string{"127.0.0.1:2379"}, "/lb", "", "", false},
		{"etcd:///x", env("ETCDCTL_ENDPOINTS", "h1:1, h2:2"), []string{"h1:1", "h2:2"}, "/x", "", "", false},
		{"etcd", env("ETCDCTL_ENDPOINTS", "https://h1:1"), []string{"https://h1:1"}, "/lb", "", "", true},
		{"etcd", env("ETCDCTL_USER", "root:s%2f:x"), []string{"127.0.0.1:2379"}, "/lb", "root", "s%2f:x", false},
		{"etcd", env("ETCDCTL_USER", "root", "ETCDCTL_PASSWORD", "s"), []string{"127.0.0.1:2379"}, "/lb", "root", "s", false},
	} {
		o, err := ParseURL(c.url, c.env)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		if !slices.Equal(o.Endpoints, c.endpoints) || o.Prefix != c.prefix || o.Username != c.user || o.Password != c.password || (o.TLS != nil) != c.tls {
			t.Errorf("%s is read as %+v, want %+v", c.url, o, c)
		}
	}
}

func TestAURLSetsTimes(t *testing.T) {
	o, err := ParseURL("etcd://h1?dial_timeout=3s&liveness=20s", nil)
	if err != nil || o.DialTimeout != 3*time.Second || o.Liveness != 20*time.Second {
		t.Errorf("got %v and %v (%v), want 3s and 20s", o.DialTimeout, o.Liveness, err)
	}
}

func TestAURLThatCannotBeIsRefusedWithoutItsPassword(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		url  string
		env  func(string) string
		want string
	}{
		{"consul://h1", nil, "no etcd URL"},
		{"etcds://h1", nil, "no etcd URL"},
		{"etcd:h1", nil, "no //"},
		{"etcd://u:hunter2@", nil, "port"},
		{"etcd://u:hunter2@h1:0", nil, "1 to 65535"},
		{"etcd://u:hunter2@h1:http", nil, "1 to 65535"},
		{"etcd://u:hunter2@h1,,h2", nil, "host"},
		{"etcd://u:hunter2@::1", nil, "brackets"},
		{"etcd://u:hunter2@h_1^:1", nil, "host"},
		{"etcd://u:hunter2%zz@h1", nil, "percent-encoded"},
		{"etcd://u:hunt/er2hunter2@h1", nil, "percent-encode"},
		{"etcd://u:hunter2?hunter2@h1", nil, "percent-encode"},
		{"etcd://:hunter2@h1", nil, "no user name"},
		{"etcd://u@h1", nil, "no password"},
		{"etcd://u:hunter2@h1/x%zz", nil, "prefix"},
		{"etcd://u:hunter2@h1?colour=red", nil, "colour"},
		{"etcd://u:hunter2@h1?scheme=ftp", nil, "ftp"},
		{"etcd://u:hunter2@h1?scheme=https&scheme=http", nil, "2 times"},
		{"etcd://u:hunter2@h1?insecure=maybe&scheme=https", nil, "insecure"},
		{"etcd://u:hunter2@h1?liveness=soon", nil, "liveness"},
		{"etcd://u:hunter2@h1?dial_timeout=-1s", nil, "dial_timeout"},
		{"etcd://u:hunter2@h1?ca=" + dir + "/none.pem", nil, "none.pem"},
		{"etcd://u:hunter2@h1?ca=" + empty, nil, "no PEM"},
		{"etcd://u:hunter2@h1?cert=" + empty, nil, "together"},
		{"etcd://u:hunter2@h1?cert=" + empty + "&key=" + empty, nil, "empty.pem"},
		{"etcd://u:hunter2@h1?ca=" + empty + "&scheme=http", nil, "scheme=http"},
		{"etcd", env("ETCDCTL_ENDPOINTS", "http://h1", "ETCDCTL_CACERT", "x", "ETCDCTL_USER", "u:hunter2"), "http"},
		{"etcd", env("ETCDCTL_ENDPOINTS", "http://u:hunter2@h1"), "holds a user"},
		{"etcd", env("ETCDCTL_ENDPOINTS", "http://h1,https://h2", "ETCDCTL_USER", "u:hunter2"), "https"},
		{"etcd", env("ETCDCTL_ENDPOINTS", "unix://h1"), "http or https"},
		{"etcd", env("ETCDCTL_PASSWORD", "hunter2", "ETCDCTL_USER", ":hunter2"), "no user name"},
	} {
		o, err := ParseURL(c.url, c.env)
		if err == nil {
			t.Errorf("%s: read as %+v, want an error", c.url, o)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunt") {
			t.Errorf("%s: the error is %q, want %q in it and no password", c.url, err, c.want)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{"etcd", "etcd://h1:2379,h2/x", "etcd://u:@h", "etcd://[::1]:2379/?scheme=https", "etcd:///"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if strings.Contains(raw, "cert") || strings.Contains(raw, "key") || strings.Contains(raw, "ca") {
			t.Skip("reads files")
		}
		const secret = "hunter2secret"
		for _, url := range []string{raw, strings.Replace(raw, ":@", ":"+secret+"@", 1)} {
			o, err := ParseURL(url, nil)
			if err != nil && strings.Contains(url, ":"+secret+"@") && strings.Contains(err.Error(), secret) {
				t.Errorf("the error of %q holds the password: %v", url, err)
			}
			if err == nil && (len(o.Endpoints) == 0 || !strings.HasPrefix(o.Prefix, "/")) {
				t.Errorf("%q is read as %+v", url, o)
			}
		}
	})
}
