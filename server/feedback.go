package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/discovery/announce"
	"github.com/vietddude/load-balancer/discovery/etcd"
)

const (
	statusKeys = "status/"
	// feedbackEvery is how often verdicts are looked at, feedbackTTL how long they outlive whoever wrote them.
	feedbackEvery = 2 * time.Second
	feedbackTTL   = 30 * time.Second
	// maxFeedback bounds how many verdicts are written.
	maxFeedback = 1000
)

// feedback is an etcd source that tells those who registered what became of it: what was rejected has a key under status/.
type feedback struct {
	discovery.Source
	store *etcd.Store
	// problems are what is wrong with the source's items now, and whether it is for this replica to write them.
	problems func(source string) ([]discovery.Problem, bool)
	log      *slog.Logger
}

// Run implements discovery.Source.
func (f *feedback) Run(ctx context.Context, sink discovery.Sink) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keeper := announce.NewKeeper(f.store.Notes(feedbackTTL), announce.Options{TTL: feedbackTTL, Told: func(err error) {
		if err != nil {
			f.log.Warn("verdicts are not written back", "err", err)
		}
	}})
	wg.Go(func() { _ = keeper.Run(ctx) })
	wg.Go(func() { f.tell(ctx, keeper) })
	return f.Source.Run(ctx, sink)
}

// tell sets the verdicts whenever they change.
func (f *feedback) tell(ctx context.Context, keeper *announce.Keeper[map[string]string]) {
	tick := time.NewTicker(feedbackEvery)
	defer tick.Stop()
	last := map[string]string{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		next := map[string]string{}
		if problems, ours := f.problems(f.Name()); ours {
			next = verdicts(f.store.Options().Prefix, problems)
		}
		if !maps.Equal(next, last) {
			last = next
			keeper.Set(next)
		}
	}
}

// verdicts are the problems by the keys under which they are written: that of the item, below status/.
func verdicts(prefix string, problems []discovery.Problem) map[string]string {
	out := map[string]string{}
	for _, p := range problems {
		item, below := strings.CutPrefix(p.Key, prefix)
		if !below {
			item = url.PathEscape(p.Key)
		}
		text, err := json.Marshal(map[string]string{"code": p.Code, "detail": p.Detail})
		if err == nil && len(out) < maxFeedback {
			out[statusKeys+item] = string(text)
		}
	}
	return out
}

// feedbackOf is what is wrong with a source's items. The first replica of a fleet writes it; so does one that has none.
func (s *Server) feedbackOf(source string) ([]discovery.Problem, bool) {
	if v := s.Fleet(); v.Self > 0 || v.Self < 0 && len(v.Members) > 0 {
		return nil, false
	}
	for _, src := range s.catalog.Status().Sources {
		if src.Name == source {
			return src.Problems, true
		}
	}
	return nil, false
}
