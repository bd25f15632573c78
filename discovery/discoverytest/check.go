package discoverytest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/vietddude/load-balancer/discovery"
)

var (
	reasons = []string{"start", "compaction", "reconnect", "index-reset", "changed"}
	codes   = []string{
		discovery.CodeBadName, discovery.CodeBadKey, discovery.CodeBadValue, discovery.CodeTooLarge,
		discovery.CodeBadURL, discovery.CodeBadWeight, discovery.CodeBadPolicy, discovery.CodeBadRoute,
		discovery.CodeBadOption, discovery.CodeDuplicate, discovery.CodeDisagree, discovery.CodeQueryFailed,
		discovery.CodeFiltered, discovery.CodeNoLeader, discovery.CodeLagging,
	}
)

// CheckService reports how a service breaks the contract of [discovery.Service].
func CheckService(s discovery.Service) error {
	if err := discovery.CheckName(s.Name); err != nil {
		return err
	}
	if s.Seen.IsZero() {
		return errors.New("the field Seen is not set")
	}
	for i, b := range s.Backends {
		if i > 0 && s.Backends[i-1].ID >= b.ID {
			return fmt.Errorf("backend %q stands after %q; want ascending IDs without duplicates", b.ID, s.Backends[i-1].ID)
		}
		if err := checkBackend(b); err != nil {
			return fmt.Errorf("backend %q: %w", b.ID, err)
		}
	}
	for _, r := range s.Routes {
		if err := checkRoute(r); err != nil {
			return fmt.Errorf("route %q: %w", r.Name, err)
		}
		if r.Service != s.Name {
			return fmt.Errorf("route %q leads to %q; a service's routes lead to itself", r.Name, r.Service)
		}
	}
	for _, m := range s.Stale {
		if m.Part != discovery.StaleService && m.Part != discovery.StaleBackend && m.Part != discovery.StalePolicy {
			return fmt.Errorf("the stale part %q is none", m.Part)
		}
		if (m.Part == discovery.StaleBackend) != (m.ID != "") {
			return fmt.Errorf("the stale part %s has the id %q; backends have one, and they alone", m.Part, m.ID)
		}
		if err := checkStale(m); err != nil {
			return fmt.Errorf("the stale part %s: %w", m.Part, err)
		}
	}
	return nil
}

func checkBackend(b discovery.Backend) error {
	if err := discovery.CheckID(b.ID); err != nil {
		return err
	}
	u, err := discovery.ParseURL(b.URL)
	switch {
	case err != nil:
		return err
	case u != b.URL:
		return fmt.Errorf("the URL %q is not normalised, want %q", b.URL, u)
	case b.Weight < 0 || b.Weight > discovery.MaxWeight:
		return fmt.Errorf("the weight %d is not 0 to %d", b.Weight, discovery.MaxWeight)
	}
	return nil
}

func checkRoute(r discovery.Route) error {
	if r.Name == "" {
		return errors.New("the name is empty")
	}
	if r.Stale != (discovery.Stale{}) {
		if err := checkStale(r.Stale); err != nil || r.Service == "" {
			return err
		}
	}
	if err := discovery.CheckName(r.Service); err != nil {
		return fmt.Errorf("service: %w", err)
	}
	return nil
}

func checkProblem(p discovery.Problem) error {
	switch {
	case p.Key == "":
		return errors.New("the key is empty")
	case !slices.Contains(codes, p.Code):
		return fmt.Errorf("the code %q is none of %v", p.Code, codes)
	case p.Detail == "":
		return errors.New("the detail is empty")
	}
	return nil
}

func checkStale(m discovery.Stale) error {
	switch {
	case !slices.Contains(codes, m.Reason):
		return fmt.Errorf("the reason %q is none of %v", m.Reason, codes)
	case m.Detail == "":
		return errors.New("the detail is empty")
	}
	return nil
}

// clone copies a service and everything it refers to.
func clone(s discovery.Service) discovery.Service {
	s.Policy = bytes.Clone(s.Policy)
	s.Backends = slices.Clone(s.Backends)
	for i := range s.Backends {
		s.Backends[i].Meta = maps.Clone(s.Backends[i].Meta)
	}
	s.Routes = slices.Clone(s.Routes)
	for i := range s.Routes {
		s.Routes[i].Headers = maps.Clone(s.Routes[i].Headers)
	}
	s.Stale = slices.Clone(s.Stale)
	return s
}
