package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/vietddude/load-balancer/discovery"
)

// Every request carries a number in path, header and body, and its answer must carry the same, while backends fail and
// come and go.
func TestNoAnswerGoesToTheWrongClient(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", h2), func(t *testing.T) {
			p := defaultPolicy()
			p.Retry.MaxRetries = 3
			l := newLab(t, p, func(_ *Options, s *httptest.Server) {
				if h2 {
					s.EnableHTTP2, s.TLS = true, testTLS()
				}
			})
			echo := func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				w.Header().Set("X-Number", r.Header.Get("X-Number"))
				io.WriteString(w, r.URL.Path+" "+string(b))
			}
			urls := []string{httpBackend(t, echo), httpBackend(t, echo), refuses(t), httpBackend(t, echo)}
			l.announce("web", urls)
			var wg sync.WaitGroup
			for g := range 8 {
				wg.Go(func() {
					for i := range 40 {
						ask(t, l, fmt.Sprintf("%d-%d", g, i), (g+i)%3 == 0)
					}
				})
			}
			wg.Go(func() {
				for i := range 20 {
					s := discovery.Service{Name: "web"}
					for j, u := range urls {
						if j != i%2 {
							s.Backends = append(s.Backends, discovery.Backend{ID: fmt.Sprintf("b%d", j), URL: u, Weight: 1 + i%3})
						}
					}
					l.announceService(s)
				}
			})
			wg.Wait()
			l.settled()
			all := l.records(320)
			if len(all) != 320 {
				t.Errorf("%d exchanges are logged, want 320", len(all))
			}
			for _, r := range all {
				if r.Status != 200 || r.Error != "" {
					t.Errorf("%s ended with %d %q", r.Target, r.Status, r.Error)
				}
			}
		})
	}
}

func ask(t *testing.T, l *lab, number string, post bool) {
	method, sent := "GET", ""
	var body io.Reader
	if post {
		method, sent = "POST", strings.Repeat(number, 50)
		body = strings.NewReader(sent)
	}
	r, _ := http.NewRequest(method, l.front.URL+"/"+number, body)
	r.Header.Set("X-Number", number)
	resp, err := l.front.Client().Do(r)
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("X-Number") != number || string(b) != "/"+number+" "+sent {
		t.Errorf("asked with %s, answered %d %q %.40q, %v", number, resp.StatusCode, resp.Header.Get("X-Number"), b, err)
	}
}
