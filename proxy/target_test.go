package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestTargetsGoOnAsTheyCame(t *testing.T) {
	got := make(chan string, 1)
	l := newLab(t, defaultPolicy())
	l.announce("web", []string{rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			head, err := readHead(r)
			if err != nil {
				return
			}
			line, _, _ := strings.Cut(head, "\r\n")
			got <- line
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})})
	for target, want := range map[string]string{
		"/":                         "/",
		"/a/../b/./c//d":            "/a/../b/./c//d",
		"/a%2Fb%2fc%20d?x=%zz&y= ":  "",
		"/a%2Fb%2fc%20d?x=%zz&y=+":  "/a%2Fb%2fc%20d?x=%zz&y=+",
		"/?":                        "/?",
		"/a?b?c":                    "/a?b?c",
		"//evil/x%2Fy?z":            "//evil/x%2Fy?z",
		"//x?":                      "//x?",
		"///":                       "///",
		`/"<>\^{|}[]'` + "`":        `/"<>\^{|}[]'` + "`",
		"/\xc3\xa9\xff":             "/\xc3\xa9\xff",
		"http://other.example/p?q":  "/p?q",
		"http://other.example":      "/",
		"HTTPS://other.example?q=1": "/?q=1",
		"/http://x/":                "/http://x/",
		"/a;b=c,d:e@f":              "/a;b=c,d:e@f",
	} {
		if want == "" {
			continue
		}
		c, r := l.dial("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("%q: %v, %v", target, resp, err)
			continue
		}
		if line := <-got; line != "GET "+want+" HTTP/1.1" {
			t.Errorf("%q went on as %q", target, line)
		}
		c.Close()
	}
	for target, want := range map[string]string{"*": "*", "http://other.example": "*"} {
		l.dial("OPTIONS " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")
		if line := <-got; line != "OPTIONS "+want+" HTTP/1.1" {
			t.Errorf("OPTIONS %q went on as %q", target, line)
		}
	}
}

func TestAbsoluteFormNamesTheHost(t *testing.T) {
	l, got := echoHead(t)
	l.dial("GET http://other.example/p HTTP/1.1\r\nHost: x\r\n\r\n")
	if r := <-got; r.Host != "other.example" {
		t.Errorf("the backend is asked for host %q", r.Host)
	}
}

func TestStripPrefix(t *testing.T) {
	for _, c := range []struct{ target, prefix, want string }{
		{"/api/x", "/api", "/x"},
		{"/api", "/api", "/"},
		{"/api?q", "/api", "/?q"},
		{"/api/", "/api", "/"},
		{"/api/x", "/api/", "/x"},
		{"/apis", "/api", "/apis"},
		{"/ap", "/api", "/ap"},
		{"/%61pi/a%2Fb?x=%61", "/api", "/a%2Fb?x=%61"},
		{"/api%2Fx", "/api", "/api%2Fx"},
		{"/a%20b/c", "/a b", "/c"},
		{"/api//x", "/api", "//x"},
		{"/x/api", "/api", "/x/api"},
		{"/x", "", "/x"},
		{"/x", "/", "/x"},
		{"*", "/api", "*"},
		{"/ap?i/x", "/api", "/ap?i/x"},
		{"/%6", "/a", "/%6"},
	} {
		if got := stripPrefix(c.target, c.prefix); got != c.want {
			t.Errorf("%q without %q is %q, want %q", c.target, c.prefix, got, c.want)
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/a?b", "//x", "http://x/y", "*", "http://", "/%zz", "#"} {
		f.Add("GET", s, "/a")
	}
	f.Fuzz(func(t *testing.T, method, target, prefix string) {
		origin, ok := originForm(method, target)
		if !ok {
			return
		}
		if origin != "*" && !strings.HasPrefix(origin, "/") || strings.Contains(origin, "#") {
			t.Errorf("%q became %q", target, origin)
		}
		if !strings.HasSuffix(target, strings.TrimPrefix(origin, "/")) && origin != "*" {
			t.Errorf("%q became %q", target, origin)
		}
		stripped := stripPrefix(origin, prefix)
		if stripped != "*" && !strings.HasPrefix(stripped, "/") {
			t.Errorf("%q without %q is %q", origin, prefix, stripped)
		}
		u := requestURL(stripped)
		u.Scheme, u.Host = "http", "backend"
		if got := u.RequestURI(); got != stripped && !strings.HasPrefix(stripped, "//") {
			t.Errorf("%q goes out as %q", stripped, got)
		}
	})
}
