package admin

import (
	"net/http"

	"github.com/vietddude/load-balancer/routing"
)

// overrideView is what an operator steers of one backend.
type overrideView struct {
	Service  string     `json:"service"`
	ID       string     `json:"id"`
	Weight   *int       `json:"weight,omitempty"`
	Draining bool       `json:"draining,omitempty"`
	Disabled bool       `json:"disabled,omitempty"`
	Removed  bool       `json:"removed,omitempty"`
	Added    *addedView `json:"added,omitempty"`
	// Pending says that it is yet to be written where overrides are kept.
	Pending bool `json:"pending,omitempty"`
}

type addedView struct {
	URL    string `json:"url"`
	Weight int    `json:"weight"`
	Zone   string `json:"zone,omitempty"`
}

func (a *api) getOverrides(w http.ResponseWriter, _ *http.Request) {
	v := struct {
		// Kept is where overrides are kept; empty for this process alone.
		Kept      string         `json:"kept"`
		Overrides []overrideView `json:"overrides"`
	}{Overrides: []overrideView{}}
	if a.Steering != nil {
		v.Kept = a.Steering.Place()
	}
	for _, o := range a.Catalog.Overrides() {
		view := overrideView{
			Service: o.Service, ID: o.ID, Weight: o.Override.Weight, Draining: o.Override.Draining,
			Disabled: o.Override.Disabled, Removed: o.Override.Removed,
			Pending: a.Steering != nil && a.Steering.Pending(o.Service, o.ID),
		}
		if b := o.Override.Added; b != nil {
			view.Added = &addedView{b.URL, b.Weight, b.Zone}
		}
		v.Overrides = append(v.Overrides, view)
	}
	reply(w, http.StatusOK, v)
}

// deleteOverride takes back all that is steered of a backend. One that is not steered is no error.
func (a *api) deleteOverride(w http.ResponseWriter, r *http.Request) {
	service, id, ok := names(w, r)
	if !ok {
		return
	}
	note, err := a.clear(r, service, id)
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	a.logger.Info("overrides of a backend cleared by an operator", "service", service, "backend", id, "client", r.RemoteAddr)
	changed(w, note)
}

// deleteOverrides takes back all that is steered.
func (a *api) deleteOverrides(w http.ResponseWriter, r *http.Request) {
	note := ""
	for _, o := range a.Catalog.Overrides() {
		n, err := a.clear(r, o.Service, o.ID)
		if err != nil {
			fail(w, http.StatusUnprocessableEntity, err.Error())
			return
		}
		if n != "" {
			note = n
		}
	}
	a.logger.Info("all overrides cleared by an operator", "client", r.RemoteAddr)
	changed(w, note)
}

func (a *api) clear(r *http.Request, service, id string) (note string, err error) {
	return a.change(r, service, id, func() error { return a.Catalog.SetOverride(service, id, routing.Override{}) })
}
