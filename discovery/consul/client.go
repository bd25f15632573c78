package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/vietddude/load-balancer/discovery"
)

const (
	// maxConns bounds the connections to the agent: the long polls and the fetches.
	maxConns = 4 + maxFetches
	// maxReply bounds what is read of one reply.
	maxReply = 256 << 20
	// nothing is a filter that no instance passes: the reply is an index without a body.
	nothing       = `Service.ID == ""`
	nothingOfNode = `Node == ""`
)

// client asks the agent. Each call is one request, which ends within the bound of its context or Options.Liveness.
type client struct {
	o         Options
	api       *api.Client
	transport *http.Transport
	auth      *authorize
}

// meta is what a reply says beside its body.
type meta struct {
	index    uint64
	filtered bool // the token may not read some of the results; never said of anonymous requests
	denies   bool // what is not granted is denied
}

func newClient(o Options) (*client, error) {
	dialer := &net.Dialer{
		Timeout: o.Liveness / 2, ControlContext: userTimeout(o.Liveness),
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: o.Liveness / 2, Interval: o.Liveness / 6, Count: 3},
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSHandshakeTimeout: o.Liveness / 2,
		MaxConnsPerHost: maxConns, MaxIdleConnsPerHost: maxConns, IdleConnTimeout: 90 * time.Second,
	}
	address := o.Address
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		address = "localhost"
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
	}
	if o.Scheme == "https" {
		var err error
		if transport.TLSClientConfig, err = o.TLS.config(); err != nil {
			return nil, err
		}
	}
	auth := &authorize{next: transport, o: o, token: o.Token}
	c, err := api.NewClient(&api.Config{
		Address: o.Scheme + "://" + address, Scheme: o.Scheme,
		// Any token keeps the library from taking one out of the environment; authorize sends the right one.
		Token: "none",
		HttpClient: &http.Client{
			Transport: auth,
			// A redirect would carry the token to whatever host it names.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	return &client{o: o, api: c, transport: transport, auth: auth}, nil
}

// close closes the connections that are not in use.
func (c *client) close() { c.transport.CloseIdleConnections() }

// reload reads the token file, if there is one. No request may be under way.
func (c *client) reload() error {
	if c.o.TokenFile == "" {
		return nil
	}
	text, err := os.ReadFile(c.o.TokenFile)
	if err != nil {
		return fmt.Errorf("consul: the token file: %w", err)
	}
	c.auth.token = strings.TrimSpace(string(text))
	return nil
}

// only is a filter that what has the tag passes that is asked for, empty if none is. The fields that hold tags have
// another name for each question. Agents that know no filter there answer with everything, which is passed over later.
func (c *client) only(tags string) string {
	if c.o.Tag == "" || strings.ContainsAny(c.o.Tag, "\"`\\") {
		return ""
	}
	return `"` + c.o.Tag + `" in ` + tags
}

// catalog lists the names of all services with the union of their instances' tags. With an index it waits for a change.
func (c *client) catalog(ctx context.Context, index uint64) (map[string][]string, meta, error) {
	return query(ctx, c, index, c.only("ServiceTags"), "the list of services", c.api.Catalog().Services)
}

// nodes asks for the index of the nodes. With an index it waits for a change.
func (c *client) nodes(ctx context.Context, index uint64) ([]*api.Node, meta, error) {
	return query(ctx, c, index, nothingOfNode, "the index of nodes", c.api.Catalog().Nodes)
}

// checks lists the checks in a state. With an index it waits for a change.
func (c *client) checks(ctx context.Context, index uint64, state string) (api.HealthChecks, meta, error) {
	return query(ctx, c, index, "", "the "+state+" checks",
		func(q *api.QueryOptions) (api.HealthChecks, *api.QueryMeta, error) {
			return c.api.Health().State(state, q)
		})
}

// service reads the instances of a service with their checks, from the leader.
func (c *client) service(ctx context.Context, name string) ([]*api.ServiceEntry, meta, error) {
	return c.health(ctx, name, c.only("Service.Tags"))
}

// index asks for the index of a service, from the leader. It moves with everything that [client.service] reads.
func (c *client) index(ctx context.Context, name string) (uint64, error) {
	_, m, err := c.health(ctx, name, nothing)
	return m.index, err
}

func (c *client) health(ctx context.Context, name, filter string) ([]*api.ServiceEntry, meta, error) {
	return query(ctx, c, 0, filter, "the service "+name,
		func(q *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
			return c.api.Health().Service(name, "", false, q)
		})
}

// query makes one request, bounded by Options.Liveness. Those that wait for a change may be answered by any server:
// they only tell when to look. All others are answered by the leader, which is never behind.
func query[T any](ctx context.Context, c *client, index uint64, filter, what string,
	ask func(*api.QueryOptions) (T, *api.QueryMeta, error)) (T, meta, error) {
	var zero T
	bounded, cancel := context.WithTimeout(ctx, c.o.Liveness)
	defer cancel()
	q := &api.QueryOptions{
		Datacenter: c.o.Datacenter, Namespace: c.o.Namespace, Partition: c.o.Partition, Filter: filter,
	}
	if index > 0 {
		q.WaitIndex, q.WaitTime, q.AllowStale = index, c.o.Wait, true
	}
	reply, m, err := ask(q.WithContext(bounded))
	switch {
	case ctx.Err() != nil:
		return zero, meta{}, ctx.Err()
	case err != nil:
		return zero, meta{}, c.explain(what, err)
	case index > 0 && !m.KnownLeader:
		return zero, meta{}, fmt.Errorf("consul: the server that %s asks for %s has no leader", c.o.Address, what)
	case index > 0 && m.LastContact > c.o.MaxStale:
		return zero, meta{}, fmt.Errorf("consul: the server that %s asks for %s is %v behind its leader, at most %v is taken",
			c.o.Address, what, m.LastContact, c.o.MaxStale)
	}
	return reply, meta{index: m.LastIndex, filtered: m.ResultsFilteredByACLs, denies: m.DefaultACLPolicy == "deny"}, nil
}

// itemError is the failure of one request that an agent in good health answered.
type itemError struct {
	error
	code string // one of the Code constants of what is stale
}

// itemCode is the reason why an item is stale that the agent would not tell of.
func itemCode(s api.StatusError) string {
	switch {
	case s.Code == http.StatusForbidden:
		return discovery.CodeFiltered
	case s.Code == http.StatusInternalServerError && strings.Contains(s.Body, "No cluster leader"):
		return discovery.CodeNoLeader
	}
	return discovery.CodeQueryFailed
}

// explain says what was asked, what went wrong, and what helps. It never holds the token.
func (c *client) explain(what string, err error) error {
	var status api.StatusError
	var outer *url.Error
	text, hint, item := err.Error(), "", ""
	switch {
	case errors.As(err, &status):
		item = itemCode(status)
		text = fmt.Sprintf("%d %s", status.Code, clip(status.Body))
		hint = statusHint(status)
	case errors.Is(err, context.DeadlineExceeded):
		text = fmt.Sprintf("no answer from %s within %v", c.o.Address, c.o.Liveness)
	case errors.As(err, &outer):
		text = withoutSource(outer.Err).Error()
		if strings.Contains(text, "server gave HTTP response to HTTPS client") {
			hint = "the agent speaks clear http there; leave scheme=https out, or use its https port"
		}
	default:
		if hint = "is this a Consul agent?"; isSyntax(err) {
			item = discovery.CodeQueryFailed
		}
	}
	if token := c.auth.token; token != "" {
		text = strings.ReplaceAll(text, token, "<token>")
	}
	if hint != "" {
		text += "; " + hint
	}
	explained := fmt.Errorf("consul: asking %s for %s: %s", c.o.Address, what, text)
	if item != "" {
		return itemError{explained, item}
	}
	return explained
}

// withoutSource is a network's error without our own port, which is another at each try: one outage reads the same
// however often it is met.
func withoutSource(err error) error {
	op, ok := err.(*net.OpError)
	if !ok || op.Source == nil {
		return err
	}
	bare := *op
	bare.Source = nil
	return &bare
}

const tokenHint = "give a token with service:read and node:read, as consul://TOKEN@host:port, in CONSUL_HTTP_TOKEN or " +
	"in the file CONSUL_HTTP_TOKEN_FILE"

func statusHint(s api.StatusError) string {
	switch {
	case s.Code == http.StatusForbidden:
		return tokenHint
	case s.Code == http.StatusBadRequest && strings.Contains(s.Body, "HTTPS"):
		return "add scheme=https"
	case s.Code == http.StatusTooManyRequests:
		return "raise limits.http_max_conns_per_client or the request limits of the agent"
	case s.Code == http.StatusInternalServerError && strings.Contains(s.Body, "No path to datacenter"):
		return "check dc="
	case s.Code/100 == 3:
		return "redirects are not followed; give the agent's own address"
	case s.Code == http.StatusNotFound && strings.Contains(s.Body, "Query not found"):
		return "create the prepared query, or leave failover_query= out"
	case s.Code == http.StatusNotFound:
		return "is this a Consul agent?"
	}
	return ""
}

func isSyntax(err error) bool {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	return errors.As(err, &syntax) || errors.As(err, &kind)
}

// authorize sends each request with what the options say of identity, and with nothing that the library found in the
// environment.
type authorize struct {
	next  http.RoundTripper
	o     Options
	token string
}

func (a *authorize) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del("X-Consul-Token")
	if a.token != "" {
		r.Header.Set("X-Consul-Token", a.token)
	}
	if a.o.User != "" {
		r.SetBasicAuth(a.o.User, a.o.Password)
	}
	q := r.URL.Query()
	if a.o.Namespace == "" {
		q.Del("ns")
	}
	if a.o.Partition == "" {
		q.Del("partition")
	}
	r.URL.RawQuery = q.Encode()
	resp, err := a.next.RoundTrip(r)
	if err == nil {
		resp.Body = &limited{ReadCloser: resp.Body, left: maxReply}
	}
	return resp, err
}

// limited is a body that fails when it is longer than any reply should be.
type limited struct {
	io.ReadCloser
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("the reply has more than %d MiB", maxReply>>20)
	}
	n, err := l.ReadCloser.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// clip bounds a foreign text for a message.
func clip(s string) string {
	const limit = 200
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
