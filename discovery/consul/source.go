package consul

import (
	"context"
	"errors"
	"time"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/internal/backoff"
)

// maxBackoff bounds the waits between tries to reach the agent: one that comes back is to be seen within seconds.
const maxBackoff = 2 * time.Second

// Source announces the services of a Consul catalog. It runs once at a time.
type Source struct {
	o       Options
	clients []*client // one for each agent
}

var _ discovery.Source = (*Source)(nil)

// New returns a source for an agent, which need not be there yet. It reports options that cannot work.
func New(o Options) (*Source, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := discovery.CheckName(o.Name); err != nil {
		return nil, err
	}
	s := &Source{o: o}
	for _, address := range o.addresses() {
		o.Address = address
		c, err := newClient(o)
		if err != nil {
			return nil, err
		}
		s.clients = append(s.clients, c)
	}
	return s, nil
}

// Name is Options.Name.
func (s *Source) Name() string { return s.o.Name }

// Run announces into the sink until the context ends. Its error is always nil.
func (s *Source) Run(ctx context.Context, sink discovery.Sink) error {
	d := newDecoder(s.o)
	if d.checkPolicy != nil {
		d.checkPolicy = remember(d.checkPolicy)
	}
	state := &state{sink: sink, decoder: d, log: s.o.Logger, records: map[string]*record{}}
	wait := backoff.Backoff{Max: maxBackoff}
	reason := "start"
	agent, failed := 0, 0 // the agent that is asked, and how many were in a row that could not be followed at all
	for {
		client, inStep := s.clients[agent], false
		err := s.session(ctx, client, state, reason, func() {
			reason, inStep = "reconnect", true
			wait.Reset()
		})
		client.close()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errIndexReset) {
			state.log.Info("Consul's index went backwards; listing everything anew")
			reason = "index-reset"
			if !wait.Wait(ctx) { // an index that always does must not make a busy loop
				return nil
			}
			continue
		}
		sink.Failed(err)
		agent = (agent + 1) % len(s.clients)
		if failed++; inStep {
			failed = 0
		}
		if failed%len(s.clients) != 0 { // another one may answer at once
			continue
		}
		if !wait.Wait(ctx) {
			return nil
		}
	}
}
