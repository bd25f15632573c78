package proxy

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestNoClientEverSeesAnothersBytes has clients that leave, backends that break off and deadlines that pass, over both
// versions of HTTP, and checks whatever does arrive.
func TestNoClientEverSeesAnothersBytes(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			p := defaultPolicy()
			p.Timeouts.Exchange = 500 * time.Millisecond
			l := newLab(t, p, func(_ *Options, s *httptest.Server) {
				if proto == "HTTP/2.0" {
					s.EnableHTTP2, s.TLS = true, testTLS()
				}
			})
			h := func(w http.ResponseWriter, r *http.Request) {
				mark := []byte(r.Header.Get("X-Mark"))
				dice := rand.IntN(10)
				if dice < 5 {
					body, _ := io.ReadAll(r.Body)
					if len(bytes.Trim(body, string(mark))) > 0 {
						t.Errorf("the backend got foreign bytes")
					}
				}
				n := rand.IntN(60)
				for i := range n {
					if _, err := w.Write(bytes.Repeat(mark, 500)); err != nil {
						return
					}
					if i == 20 && dice == 0 {
						panic(http.ErrAbortHandler)
					}
					if dice == 1 {
						time.Sleep(time.Millisecond)
					}
				}
			}
			l.announce("web", []string{httpBackend(t, h), httpBackend(t, h)})
			var whole, broken atomic.Int64
			var wg sync.WaitGroup
			for c := range 8 {
				wg.Go(func() {
					mark := string(rune('a' + c))
					for i := range 30 {
						patience := 20 * time.Second
						if i%3 > 0 {
							patience = time.Duration(1+rand.IntN(50)) * time.Millisecond
						}
						ctx, cancel := context.WithTimeout(t.Context(), patience)
						r, _ := http.NewRequestWithContext(ctx, "POST", l.front.URL, struct{ io.Reader }{strings.NewReader(strings.Repeat(mark, rand.IntN(50_000)))})
						r.Header.Set("X-Mark", mark)
						resp, err := l.front.Client().Do(r)
						if err == nil {
							b, err := io.ReadAll(resp.Body)
							resp.Body.Close()
							if resp.StatusCode == 200 && len(bytes.Trim(b, mark)) > 0 {
								t.Errorf("client %s got foreign bytes", mark)
							}
							if err != nil {
								broken.Add(1)
							} else {
								whole.Add(1)
							}
						} else {
							broken.Add(1)
						}
						cancel()
					}
				})
			}
			wg.Wait()
			l.front.Client().CloseIdleConnections()
			l.settled()
			if whole.Load() == 0 || broken.Load() == 0 {
				t.Errorf("%d whole and %d broken exchanges; the test wants some of both", whole.Load(), broken.Load())
			}
		})
	}
}
