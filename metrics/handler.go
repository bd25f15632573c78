package metrics

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes bounds the scrapes under way at a time: the path may be open to the world, and a scrape of a large table
// is work. Further ones are answered 503.
const maxScrapes = 4

// contentType is that of Prometheus's text format.
const contentType = "text/plain; version=0.0.4; charset=utf-8"

// Options configure a [Handler].
type Options struct {
	// Bounds are the upper bounds of all histograms' buckets in ascending order.
	Bounds []time.Duration
	Build  Build
	// Logger is told of scrapes that failed; nil discards.
	Logger *slog.Logger
}

// Handler answers scrapes in Prometheus's text format, compressed where the scraper asks for it: the reader's metrics,
// and those of the Go runtime and the process (go_…, process_…). It may be used concurrently.
func Handler(r Reader, o Options) http.Handler {
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	h := &handler{reader: r, opts: o, free: make(chan struct{}, maxScrapes)}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	h.process = promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog: errorLog{logger}, ErrorHandling: promhttp.ContinueOnError, DisableCompression: true,
	})
	return h
}

type handler struct {
	reader  Reader
	opts    Options
	process http.Handler
	free    chan struct{} // holds a token for each scrape under way
}

func (h *handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "metrics are read with GET", http.StatusMethodNotAllowed)
		return
	}
	select {
	case h.free <- struct{}{}:
		defer func() { <-h.free }()
	default:
		http.Error(w, fmt.Sprintf("%d scrapes are under way already; try again later", maxScrapes), http.StatusServiceUnavailable)
		return
	}
	s := h.reader.Read()
	w.Header().Set("Content-Type", contentType)
	var body io.Writer = w
	if acceptsGzip(req.Header) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Add("Vary", "Accept-Encoding")
		z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
		defer z.Close()
		body = z
	}
	out := bufio.NewWriterSize(body, 32<<10)
	newEmitter(out, h.opts.Bounds, h.opts.Build).scrape(&s)
	h.process.ServeHTTP(&bodyOnly{out}, &http.Request{Method: http.MethodGet, Header: http.Header{}})
	_ = out.Flush() // the scraper has left
}

// acceptsGzip reports whether a client takes content that is compressed by gzip (RFC 9110, section 12.5.3).
func acceptsGzip(h http.Header) bool {
	for _, field := range h.Values("Accept-Encoding") {
		for coding := range strings.SplitSeq(field, ",") {
			name, weight, _ := strings.Cut(strings.TrimSpace(coding), ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") {
				q, _ := strings.CutPrefix(strings.TrimSpace(weight), "q=")
				return strings.Trim(q, "0.") != "" || q == ""
			}
		}
	}
	return false
}

// bodyOnly appends the content of another handler's answer.
type bodyOnly struct{ io.Writer }

func (b *bodyOnly) Header() http.Header { return http.Header{} }
func (b *bodyOnly) WriteHeader(int)     {}

// errorLog passes what promhttp complains of to the log.
type errorLog struct{ logger *slog.Logger }

// Println implements promhttp.Logger.
func (l errorLog) Println(v ...any) {
	l.logger.Warn("metrics: a scrape is incomplete", "err", fmt.Sprint(v...))
}
