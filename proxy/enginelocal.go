package proxy

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/vietddude/load-balancer/proxy/http1"
)

// local has a handler answer the request. Its body is not given to the handler.
func (c *engineConn) local(h http.Handler) {
	r := &http.Request{
		Method: c.method, Host: c.x.req.Host, RequestURI: c.x.req.Target, Header: c.toBackend.wholly(),
		Proto: c.x.req.Proto, ProtoMajor: 1, ProtoMinor: int(c.req.Minor), Body: http.NoBody,
		RemoteAddr: netip.AddrPortFrom(c.peer, 0).String(),
	}
	u, err := url.ParseRequestURI(string(c.req.Path()))
	if err != nil {
		u = &url.URL{Path: c.x.req.Path}
	}
	r.URL = u
	w := &localWriter{header: make(http.Header)}
	h.ServeHTTP(w, r.WithContext(c.e.work))
	if !c.bodyEnds() || c.e.closing.Load() {
		c.keep = false
	}
	c.out.Buf = http1.AppendStatus(c.out.Buf, w.code(), http.StatusText(w.code()))
	c.out.Buf = w.appendHeader(c.out.Buf)
	c.out.Buf = c.e.appendDate(c.out.Buf)
	c.appendConnection()
	n := int64(w.body.Len())
	c.out.Buf = http1.AppendEnd(c.out.Buf, http1.Sized, n)
	c.out.Begin(http1.Sized, n)
	c.answerBy(time.Now())
	if c.method != "HEAD" {
		io.Copy(&c.out, &w.body)
	}
	if c.out.Flush() != nil {
		c.keep, c.abort = false, true
	}
}

// localWriter gathers a handler's answer.
type localWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *localWriter) Header() http.Header { return w.header }

func (w *localWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

func (w *localWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

func (w *localWriter) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// appendHeader appends the fields in order of their names, without those that frame the message.
func (w *localWriter) appendHeader(dst []byte) []byte {
	names := make([]string, 0, len(w.header))
	for name := range w.header {
		switch name {
		case "Content-Length", "Transfer-Encoding", "Connection", "Date", "Trailer":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range w.header[name] {
			dst = http1.AppendField(dst, name, v)
		}
	}
	if w.header.Get("Content-Type") == "" && w.body.Len() > 0 {
		dst = http1.AppendField(dst, "Content-Type", http.DetectContentType(w.body.Bytes()[:min(512, w.body.Len())]))
	}
	return dst
}
