package etcd

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// dialStagger is how long a member has to answer before the next one is tried beside it.
const dialStagger = 300 * time.Millisecond

// dialled is a member with a watch that stands, or the reason why it has none.
type dialled struct {
	member int // of Options.Endpoints
	client *clientv3.Client
	watch  *watch
	cancel context.CancelFunc // of both
	err    error
}

func (d *dialled) close() {
	d.watch.close()
	d.client.Close()
	d.cancel()
}

// dial opens a watch at one member. Members are tried in order, beginning behind the one that served last: when one fails,
// or does not answer soon, the next is tried, and the first whose watch stands is taken. The error is the one that tells
// most.
func (r *run) dial(ctx context.Context) (*dialled, error) {
	n := len(r.opts.Endpoints)
	results := make(chan dialled, n)
	var cancels []context.CancelFunc // of those that were tried, in that order
	try := func() {
		if len(cancels) == n {
			return
		}
		member := (r.member + len(cancels)) % n
		ctx, cancel := context.WithCancel(ctx)
		cancels = append(cancels, cancel)
		go func() { results <- r.connect(ctx, cancel, member) }()
	}
	try()
	stagger := time.NewTicker(dialStagger)
	defer stagger.Stop()
	var taken *dialled
	var errs []error
	for ended := 0; ended < len(cancels); {
		select {
		case d := <-results:
			switch ended++; {
			case d.err != nil && taken == nil:
				errs = append(errs, d.err)
				try()
			case d.err == nil && taken == nil:
				taken = &d
				for i, cancel := range cancels {
					if (r.member+i)%n != d.member {
						cancel()
					}
				}
			case d.err == nil:
				d.close()
			}
		case <-stagger.C:
			if taken == nil {
				try()
			}
		}
	}
	if taken == nil {
		r.member = (r.member + 1) % n
		return nil, mostTelling(errs)
	}
	r.member = (taken.member + 1) % n
	return taken, nil
}

// mostTelling is the first error that says more than that a member is away, else the first.
func mostTelling(errs []error) error {
	for _, err := range errs {
		if nature, _ := classify(err, message(err)); nature != "unreachable" && nature != "late" {
			return err
		}
	}
	return errs[0]
}

// connect opens a watch at one member. The context is that of the connection, for as long as it is in use.
func (r *run) connect(ctx context.Context, cancel context.CancelFunc, member int) dialled {
	client, err := clientv3.New(clientv3.Config{
		Context:            ctx,
		Endpoints:          r.opts.Endpoints[member : member+1],
		Username:           r.opts.Username,
		Password:           r.opts.Password,
		TLS:                r.opts.TLS,
		DialTimeout:        r.opts.DialTimeout,
		MaxCallRecvMsgSize: r.maxMessage,
		MaxUnaryRetries:    3, // a stale login is renewed by a retry; a dead store is for the backoff of Run
		Logger:             zap.NewNop(),
		// The kernel gives up what it has sent and nobody has acknowledged after the timeout. The library pings no more
		// often than this; the requests for progress do, and tell more.
		DialKeepAliveTime:    max(10*time.Second, r.opts.Liveness),
		DialKeepAliveTimeout: r.opts.Liveness,
	})
	if err != nil {
		cancel()
		return dialled{member: member, err: err}
	}
	w, err := r.openWatch(ctx, client.ActiveConnection())
	if err != nil {
		client.Close()
		cancel()
		return dialled{member: member, err: err}
	}
	return dialled{member: member, client: client, watch: w, cancel: cancel}
}
