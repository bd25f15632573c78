package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/routing"
)

// names reads service and backend from the path. If they cannot be such names, it has answered.
func names(w http.ResponseWriter, r *http.Request) (service, id string, ok bool) {
	service, id = r.PathValue("service"), r.PathValue("id")
	if err := discovery.CheckName(service); err != nil {
		fail(w, http.StatusBadRequest, "service: "+clip(err.Error()))
		return "", "", false
	}
	if err := discovery.CheckID(id); err != nil {
		fail(w, http.StatusBadRequest, "backend: "+clip(err.Error()))
		return "", "", false
	}
	return service, id, true
}

// checkWeight reports why a number cannot be a weight.
func checkWeight(n int) error {
	if n < 0 || n > discovery.MaxWeight {
		return fmt.Errorf("the weight %d is not 0 to %d", n, discovery.MaxWeight)
	}
	return nil
}

// has reports whether the table has the backend now.
func (a *api) has(service, id string) bool {
	s := a.Catalog.Table().Service(service)
	return s != nil && s.Backend(id) != nil
}

func (a *api) putBackend(w http.ResponseWriter, r *http.Request) {
	service, id, ok := names(w, r)
	if !ok {
		return
	}
	body := struct {
		URL    string `json:"url"`
		Weight *int   `json:"weight"`
		Zone   string `json:"zone"`
	}{}
	if !decode(w, r, &body) {
		return
	}
	b := discovery.Backend{ID: id, Weight: 1, Zone: body.Zone}
	if body.Weight != nil {
		b.Weight = *body.Weight
	}
	var err error
	if b.URL, err = discovery.ParseURL(body.URL); err == nil {
		err = checkWeight(b.Weight)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	status := http.StatusCreated
	if a.has(service, id) {
		status = http.StatusOK
	}
	note, err := a.change(r, service, id, func() error { return a.Catalog.AddBackend(service, b) })
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	a.logger.Info("backend added by an operator", "service", service, "backend", id, "url", b.URL, "weight", b.Weight, "client", r.RemoteAddr)
	reply(w, status, struct {
		Service string `json:"service"`
		ID      string `json:"id"`
		URL     string `json:"url"`
		Weight  int    `json:"weight"`
		Zone    string `json:"zone,omitempty"`
		Note    string `json:"note,omitempty"`
	}{service, id, b.URL, b.Weight, b.Zone, note})
}

// change makes a change and keeps it.
func (a *api) change(r *http.Request, service, id string, change func() error) (note string, err error) {
	if a.Steering == nil {
		return "", change()
	}
	return a.Steering.Change(r.Context(), service, id, change)
}

// changed answers a change that was made: 204, or 202 with a note if it is not kept where it should be yet.
func changed(w http.ResponseWriter, note string) {
	if note == "" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	reply(w, http.StatusAccepted, struct {
		Note string `json:"note"`
	}{note})
}

func (a *api) deleteBackend(w http.ResponseWriter, r *http.Request) {
	service, id, ok := names(w, r)
	if !ok {
		return
	}
	note, err := a.change(r, service, id, func() error { return a.Catalog.RemoveBackend(service, id) })
	if err != nil {
		refuse(w, err)
		return
	}
	a.logger.Info("backend removed by an operator", "service", service, "backend", id, "client", r.RemoteAddr)
	changed(w, note)
}

// patch is the body of a change to a backend; what is absent stays.
type patch struct {
	// Weight is a number, or null, which takes an earlier override back.
	Weight   json.RawMessage `json:"weight"`
	Draining *bool           `json:"draining"`
	Disabled *bool           `json:"disabled"`
}

// weight is the number, nil for null.
func (p patch) weight() (*int, error) {
	var n *int
	if err := json.Unmarshal(p.Weight, &n); err != nil {
		return nil, fmt.Errorf("the weight %s is not a whole number or null", clip(string(p.Weight)))
	}
	if n == nil {
		return nil, nil
	}
	return n, checkWeight(*n)
}

func (a *api) patchBackend(w http.ResponseWriter, r *http.Request) {
	service, id, ok := names(w, r)
	if !ok {
		return
	}
	var p patch
	if !decode(w, r, &p) {
		return
	}
	if p.Weight == nil && p.Draining == nil && p.Disabled == nil {
		fail(w, http.StatusBadRequest, `nothing is to be changed; send {"weight": 5}, {"weight": null}, {"draining": true} or {"disabled": true}`)
		return
	}
	log := []any{"service", service, "backend", id, "client", r.RemoteAddr}
	var weight *int
	if p.Weight != nil {
		var err error
		if weight, err = p.weight(); err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		log = append(log, "weight", string(p.Weight))
	}
	note, err := a.change(r, service, id, func() (err error) {
		if p.Weight != nil {
			err = a.Catalog.SetWeight(service, id, weight)
		}
		if err == nil && p.Draining != nil {
			err = a.Catalog.SetDraining(service, id, *p.Draining)
			log = append(log, "draining", *p.Draining)
		}
		if err == nil && p.Disabled != nil {
			err = a.Catalog.SetDisabled(service, id, *p.Disabled)
			log = append(log, "disabled", *p.Disabled)
		}
		return err
	})
	if err != nil {
		refuse(w, err)
		return
	}
	a.logger.Info("backend changed by an operator", log...)
	changed(w, note)
}

// refuse tells why the catalog did not take a change: 404 if there is no such service or backend.
func refuse(w http.ResponseWriter, err error) {
	if errors.Is(err, routing.ErrUnknown) {
		fail(w, http.StatusNotFound, err.Error()+"; /api/v1/table lists those there are")
		return
	}
	fail(w, http.StatusUnprocessableEntity, err.Error())
}
