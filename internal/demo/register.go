package demo

import (
	"context"
	"fmt"
	"math"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vietddude/load-balancer/internal/backoff"
)

// etcdTimeout bounds each request to etcd.
const etcdTimeout = 2 * time.Second

// Register keeps a backend announced in etcd under prefix/services/service/id until the context ends, with a lease, so
// that the backend is gone within ttl (whole seconds, at least 1) when whoever registered it is. While etcd cannot be
// reached, and when the lease is lost, it registers anew for as long as it takes. On the way out it takes the
// registration back. A key that somebody else deleted stays deleted as long as the lease lives.
//
// Its error tells of arguments that make no key; it is nil when the context ended it.
func Register(ctx context.Context, client *clientv3.Client, prefix, service, id, url string, ttl time.Duration) error {
	if service == "" || id == "" || url == "" {
		return fmt.Errorf("a registration needs a service, an id and a URL; got %q, %q, %q", service, id, url)
	}
	key := fmt.Sprintf("%s/services/%s/%s", prefix, service, id)
	retry := backoff.Backoff{Max: 2 * time.Second}
	for {
		if hold(ctx, client, key, url, ttl) {
			retry.Reset()
		}
		if !retry.Wait(ctx) {
			return nil
		}
	}
}

// hold registers once and returns when the lease is lost, or revoked because the context ended. It reports whether the
// backend was registered.
func hold(ctx context.Context, client *clientv3.Client, key, value string, ttl time.Duration) bool {
	lease, err := grant(ctx, client, ttl)
	if err != nil {
		return false
	}
	defer func() {
		// The context may have ended, which is when the registration is to be taken back.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), etcdTimeout)
		defer cancel()
		_, _ = client.Revoke(ctx, lease) // else the lease's time ends it
	}()
	if err := put(ctx, client, key, value, lease); err != nil {
		return false
	}
	alive, err := client.KeepAlive(ctx, lease)
	if err != nil {
		return false
	}
	for range alive {
		// Each answer extends the lease; the channel is closed when it is lost or the context has ended.
	}
	return true
}

func grant(ctx context.Context, client *clientv3.Client, ttl time.Duration) (clientv3.LeaseID, error) {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	r, err := client.Grant(ctx, max(1, int64(math.Ceil(ttl.Seconds()))))
	if err != nil {
		return 0, err
	}
	return r.ID, nil
}

func put(ctx context.Context, client *clientv3.Client, key, value string, lease clientv3.LeaseID) error {
	ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
	defer cancel()
	_, err := client.Put(ctx, key, value, clientv3.WithLease(lease))
	return err
}
