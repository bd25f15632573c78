package admin

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/vietddude/load-balancer/routing"
)

// guardView shows what a source's guard holds; nil while it holds nothing.
type guardView struct {
	Backends int       `json:"backends"`
	Services int       `json:"services"`
	Routes   int       `json:"routes"`
	Since    time.Time `json:"since"`
	// Until is when the source is obeyed; nil if an operator is waited for.
	Until *time.Time `json:"until,omitempty"`
	// Announced and Gone are how many backends the source announced before, and how many of them were gone at once.
	Announced int `json:"announced"`
	Gone      int `json:"gone"`
}

func viewGuard(g routing.GuardStatus) *guardView {
	if g.Since.IsZero() {
		return nil
	}
	v := &guardView{Backends: g.Held, Services: g.Services, Routes: g.Routes, Since: g.Since, Announced: g.Of, Gone: g.Lost}
	if !g.Until.IsZero() {
		v.Until = &g.Until
	}
	return v
}

func (a *api) getDiff(w http.ResponseWriter, r *http.Request) {
	reply(w, http.StatusOK, a.Catalog.Diff())
}

func (a *api) releaseGuard(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Source string `json:"source"`
	}
	if !decode(w, r, &body) {
		return
	}
	n, err := a.Catalog.ReleaseGuard(body.Source)
	switch {
	case errors.Is(err, routing.ErrUnknown):
		fail(w, http.StatusNotFound, "there is no source "+strconv.Quote(clip(body.Source))+"; /api/v1/sources lists those there are")
		return
	case err != nil:
		fail(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	if n > 0 {
		a.logger.Info("held backends released by an operator", "source", body.Source, "backends", n, "client", r.RemoteAddr)
	}
	reply(w, http.StatusOK, struct {
		Released int `json:"released"`
	}{n})
}
