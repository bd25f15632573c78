package consul

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// servicesPerNode is from how many services for each node on the nodes are asked instead of the services.
	servicesPerNode = 8
	// nodeFetches is how many nodes are asked at a time when something surely changed. Their replies keep an agent busy, and
	// others from it; else they are asked one by one.
	nodeFetches = 4
	// locatePause times the duration of a search is the least time until the next, so that a large and busy catalog is
	// searched for a fifth of the time at most.
	locatePause = 4
)

// located is what all nodes say that they hold.
type located struct {
	epoch    uint64 // when the search began
	began    time.Time
	nodes    map[string]nodeServices
	filtered bool
}

// nodeServices is a node and what stands on it.
type nodeServices struct {
	Node     struct{ ModifyIndex uint64 }
	Services []nodeInstance
}

// nodeInstance is what is read of an instance to see whether it changed.
type nodeInstance struct {
	ID, Service string
	Kind        api.ServiceKind
	Tags        []string
	ModifyIndex uint64
}

// node lists what stands on a node.
func (c *client) node(ctx context.Context, name string) (nodeServices, meta, error) {
	return query(ctx, c, 0, c.only("Tags"), "the node "+name, func(q *api.QueryOptions) (nodeServices, *api.QueryMeta, error) {
		var r nodeServices
		m, err := c.api.Raw().Query("/v1/catalog/node-services/"+name, &r, q)
		return r, m, err
	})
}

// nodeIndexes lists the nodes with the index of each one's last change.
func (c *client) nodeIndexes(ctx context.Context) (map[string]uint64, meta, error) {
	type node struct {
		Node        string
		ModifyIndex uint64
	}
	nodes, m, err := query(ctx, c, 0, "", "the nodes", func(q *api.QueryOptions) ([]node, *api.QueryMeta, error) {
		var nodes []node
		m, err := c.api.Raw().Query("/v1/catalog/nodes", &nodes, q)
		return nodes, m, err
	})
	indexes := make(map[string]uint64, len(nodes))
	for _, n := range nodes {
		indexes[n.Node] = n.ModifyIndex
	}
	return indexes, m, err
}

// byNodes reports whether the nodes are to be asked which services changed, since they are few beside the services.
func (n *session) byNodes() bool {
	if n.noNodes || len(n.records) <= fewServices {
		return false
	}
	nodes := map[string]bool{}
	for _, r := range n.records {
		for node := range r.nodes {
			nodes[node] = true
		}
	}
	return len(nodes)*servicesPerNode <= len(n.records)
}

// locate starts to ask all nodes what they hold. It counts as one of the requests under way.
func (n *session) locate(now time.Time) {
	found := &located{epoch: n.epoch, began: now, nodes: map[string]nodeServices{}}
	atOnce := 1
	if n.certain {
		atOnce = nodeFetches
	}
	n.certain = false
	n.inFlight++
	n.wg.Go(func() { n.results <- result{located: found, err: n.client.search(n.ctx, found, atOnce)} })
}

// search fills in what the nodes hold, which are asked so many at once.
func (c *client) search(ctx context.Context, found *located, atOnce int) error {
	nodes, m, err := c.nodeIndexes(ctx)
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards found and err
	found.filtered = m.filtered
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for name := range nodes {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			held, m, e := c.node(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			found.filtered = found.filtered || m.filtered
			if e != nil {
				err = e
				return
			}
			found.nodes[name] = held
		})
	}
	wg.Wait()
	return err
}

// located takes what the nodes hold: services of which an instance came, went or changed are read.
func (n *session) located(res result) error {
	n.sweep.active = false
	n.sweep.allAfter = time.Now().Add(locatePause * time.Since(res.located.began))
	var item itemError
	switch {
	case res.err != nil && !errors.As(res.err, &item):
		return res.err
	case res.err != nil:
		n.noNodes, n.since = true, n.sweep.seen // the services one by one, then
		n.log.Debug("the nodes cannot be asked what they hold", "error", res.err)
		return nil
	}
	type known struct {
		record *record
		instanceRef
	}
	type key struct{ node, id string }
	instances := make(map[key]known, 4*len(n.records))
	for _, r := range n.records {
		for _, in := range r.instances {
			instances[key{in.node, in.id}] = known{r, in}
		}
	}
	changed := map[*record]bool{}
	for node, held := range res.located.nodes {
		for _, in := range held.Services {
			r := n.records[in.Service]
			if r == nil || in.Kind != api.ServiceKindTypical || !n.decoder.wants(in.Service, in.Tags) {
				// Passed over, or not listed yet. One that is not wanted any more is seen to be gone below.
				continue
			}
			at := key{node, in.ID}
			old, ok := instances[at]
			if !ok || old.record != r || old.modified != in.ModifyIndex || old.nodeModified != held.Node.ModifyIndex {
				changed[r] = true
			}
			delete(instances, at)
		}
	}
	for _, old := range instances {
		changed[old.record] = changed[old.record] || !res.located.filtered
	}
	for _, r := range n.records {
		switch {
		case changed[r]:
			if r.seen.IsZero() {
				r.seen = n.sweep.seen
			}
			n.look(r, r.seen)
		case !r.busy && !r.queued:
			r.epoch = max(r.epoch, res.located.epoch)
		}
	}
	n.sweep.all = max(n.sweep.all, res.located.epoch)
	return nil
}
