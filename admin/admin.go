package admin

import (
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// api is the handler's state.
type api struct {
	Options
	logger *slog.Logger
	now    func() time.Time
}

// New returns the handler of the admin address. It may be used concurrently.
func New(o Options) http.Handler {
	a := &api{Options: o, logger: o.Logger, now: time.Now}
	if a.logger == nil {
		a.logger = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	mux.Handle("/healthz", methods{http.MethodGet: a.healthz})
	mux.Handle("/readyz", methods{http.MethodGet: a.readyz})
	guarded := a.guard(a.routes())
	mux.Handle("/", guarded)
	return secure(mux)
}

// routes are the paths that want the guard's consent.
func (a *api) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/{$}", methods{http.MethodGet: servePage})
	if a.Metrics != nil {
		mux.Handle("/metrics", a.Metrics)
	}
	mux.Handle("/api/v1/table", methods{http.MethodGet: a.getTable})
	mux.Handle("/api/v1/services/{service}", methods{http.MethodGet: a.getService})
	mux.Handle("/api/v1/services/{service}/backends/{id}", methods{
		http.MethodPut:    a.putBackend,
		http.MethodPatch:  a.patchBackend,
		http.MethodDelete: a.deleteBackend,
	})
	mux.Handle("/api/v1/overrides", methods{http.MethodGet: a.getOverrides, http.MethodDelete: a.deleteOverrides})
	mux.Handle("/api/v1/overrides/{service}/{id}", methods{http.MethodDelete: a.deleteOverride})
	if a.Fleet != nil {
		mux.Handle("/api/v1/fleet", methods{http.MethodGet: func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, a.Fleet()) }})
	}
	mux.Handle("/api/v1/sources", methods{http.MethodGet: a.getSources})
	mux.Handle("/api/v1/diff", methods{http.MethodGet: a.getDiff})
	mux.Handle("/api/v1/guard/release", methods{http.MethodPost: a.releaseGuard})
	mux.Handle("/api/v1/version", methods{http.MethodGet: a.getVersion})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "there is nothing at this path; the status page is at /, the API begins at /api/v1/table")
	})
	return mux
}

// methods answers by method: HEAD like GET, others with 405 and what is allowed.
type methods map[string]http.HandlerFunc

// ServeHTTP implements http.Handler.
func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if h, ok := m[method]; ok {
		h(w, r)
		return
	}
	allowed := slices.Collect(maps.Keys(m))
	if m[http.MethodGet] != nil {
		allowed = append(allowed, http.MethodHead)
	}
	slices.Sort(allowed)
	list := strings.Join(allowed, ", ")
	w.Header().Set("Allow", list)
	fail(w, http.StatusMethodNotAllowed, "the method "+clip(r.Method)+" is not allowed here; use "+list)
}

// secure sets the headers that every answer has.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}
