// Package client asks the admin API of a running balancer, and changes what it steers, as an operator does.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 256 << 20

// Client speaks with one balancer. Its methods may be called concurrently.
type Client struct {
	// Address is the admin's host:port, or a URL before which a proxy stands.
	Address string
	// Token is the admin's, if it wants one.
	Token string
}

// Change is the answer to a change.
type Change struct {
	// Note tells what is not as it should be although the change is in force; empty for nothing.
	Note string `json:"note"`
}

// Backend is one backend as the API shows it.
type Backend struct {
	Service  string `json:"-"`
	ID       string `json:"id"`
	URL      string `json:"url"`
	Zone     string `json:"zone"`
	State    string `json:"state"`
	Weight   int    `json:"weight"`
	InFlight int64  `json:"in_flight"`
}

// Override is what an operator steers of one backend.
type Override struct {
	Service  string `json:"service"`
	ID       string `json:"id"`
	Weight   *int   `json:"weight"`
	Draining bool   `json:"draining"`
	Disabled bool   `json:"disabled"`
	Removed  bool   `json:"removed"`
	Added    *struct {
		URL    string `json:"url"`
		Weight int    `json:"weight"`
		Zone   string `json:"zone"`
	} `json:"added"`
	Pending bool `json:"pending"`
}

// Backends lists the backends of a service, or of all for an empty name.
func (c *Client) Backends(ctx context.Context, service string) ([]Backend, error) {
	var table struct {
		Services []struct {
			Name     string    `json:"name"`
			Backends []Backend `json:"backends"`
		} `json:"services"`
	}
	if err := c.do(ctx, http.MethodGet, "/api/v1/table", nil, &table); err != nil {
		return nil, err
	}
	var out []Backend
	found := service == ""
	for _, s := range table.Services {
		if service != "" && s.Name != service {
			continue
		}
		found = true
		for _, b := range s.Backends {
			b.Service = s.Name
			out = append(out, b)
		}
	}
	if !found {
		return nil, fmt.Errorf("there is no service %q", service)
	}
	return out, nil
}

// Overrides lists what is steered, and where that is kept; an empty place is the process alone.
func (c *Client) Overrides(ctx context.Context) (overrides []Override, kept string, err error) {
	var v struct {
		Kept      string     `json:"kept"`
		Overrides []Override `json:"overrides"`
	}
	err = c.do(ctx, http.MethodGet, "/api/v1/overrides", nil, &v)
	return v.Overrides, v.Kept, err
}

// SetDraining begins or ends a drain.
func (c *Client) SetDraining(ctx context.Context, service, id string, draining bool) (Change, error) {
	return c.change(ctx, http.MethodPatch, backendPath(service, id), map[string]any{"draining": draining})
}

// SetDisabled keeps everything new from a backend, sessions too, or ends that.
func (c *Client) SetDisabled(ctx context.Context, service, id string, disabled bool) (Change, error) {
	return c.change(ctx, http.MethodPatch, backendPath(service, id), map[string]any{"disabled": disabled})
}

// SetWeight sets the weight; nil returns to the announced one.
func (c *Client) SetWeight(ctx context.Context, service, id string, weight *int) (Change, error) {
	return c.change(ctx, http.MethodPatch, backendPath(service, id), map[string]any{"weight": weight})
}

// Add adds or replaces a backend.
func (c *Client) Add(ctx context.Context, service, id, url string, weight int, zone string) (Change, error) {
	return c.change(ctx, http.MethodPut, backendPath(service, id), map[string]any{"url": url, "weight": weight, "zone": zone})
}

// Remove takes a backend out, whoever announces it.
func (c *Client) Remove(ctx context.Context, service, id string) (Change, error) {
	return c.change(ctx, http.MethodDelete, backendPath(service, id), nil)
}

// Clear takes back all that is steered of a backend.
func (c *Client) Clear(ctx context.Context, service, id string) (Change, error) {
	return c.change(ctx, http.MethodDelete, "/api/v1/overrides/"+url.PathEscape(service)+"/"+url.PathEscape(id), nil)
}

// ClearAll takes back all that is steered.
func (c *Client) ClearAll(ctx context.Context) (Change, error) {
	return c.change(ctx, http.MethodDelete, "/api/v1/overrides", nil)
}

func backendPath(service, id string) string {
	return "/api/v1/services/" + url.PathEscape(service) + "/backends/" + url.PathEscape(id)
}

func (c *Client) change(ctx context.Context, method, path string, body any) (ch Change, err error) {
	return ch, c.do(ctx, method, path, body, &ch)
}

// do makes one request. An answer that is an error becomes one, in the API's words.
func (c *Client) do(ctx context.Context, method, path string, body, to any) error {
	base := strings.TrimSuffix(c.Address, "/")
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		text = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, text)
	if err != nil {
		return fmt.Errorf("%q is no address of an admin", c.Address)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	// The balancer is this machine's, or near: no proxy is asked, nor is a connection kept, nor a token sent elsewhere.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("asking the balancer at %s: %w", c.Address, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("asking the balancer at %s: %w", c.Address, err)
	}
	if resp.StatusCode/100 != 2 {
		var e struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(answer, &e) == nil && e.Error != "" {
			return errors.New(e.Error)
		}
		return fmt.Errorf("the balancer at %s answers %s; is this its admin address?", c.Address, resp.Status)
	}
	if len(answer) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer, to); err != nil {
		return fmt.Errorf("the answer of %s is not understood: %w", c.Address, err)
	}
	return nil
}
