package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// listing is all keys below the prefix at one revision.
type listing struct {
	kvs     []keyValue // nil where the content took them already
	rev     int64
	cluster uint64
}

// listTries bounds how often a listing starts over because its revision was compacted under it.
const listTries = 5

// list lists all keys. The first page decides the revision, the others are read at it.
func (r *run) list(ctx context.Context, kv clientv3.KV) (*listing, error) {
	for range listTries {
		l, err := r.listOnce(ctx, kv)
		if !errors.Is(err, rpctypes.ErrCompacted) {
			return l, err
		}
	}
	return nil, fmt.Errorf("the listing was overtaken by compaction %d times", listTries)
}

// listOnce asks for the next page while it takes the one before.
func (r *run) listOnce(ctx context.Context, kv clientv3.KV) (*listing, error) {
	l := &listing{}
	gradual, _ := r.core.(gradual)
	if gradual != nil {
		gradual.begin()
	}
	key, end := r.opts.keys()
	limit := r.pageSize
	ask := func() chan answer {
		to, key, limit, rev := make(chan answer, 1), key, limit, l.rev
		go func() {
			page, err := r.page(ctx, kv, key, end, limit, rev)
			to <- answer{page, err}
		}()
		return to
	}
	for asked := ask(); asked != nil; {
		a := <-asked // at the latest when its time is over
		if limit > 1 && tooLarge(a.err) {
			limit /= 2
			asked = ask()
			continue
		}
		if a.err != nil {
			return nil, a.err
		}
		if l.rev == 0 {
			if l.rev, l.cluster = a.page.Header.Revision, a.page.Header.ClusterId; r.watched != 0 && l.cluster != r.watched {
				return nil, errForeign
			}
		}
		asked = nil
		if kvs := a.page.Kvs; a.page.More && len(kvs) > 0 {
			key = string(kvs[len(kvs)-1].Key) + "\x00"
			limit = r.nextLimit(limit, kvs)
			asked = ask()
		}
		for _, e := range a.page.Kvs {
			one := keyValue{string(e.Key), e.Value, e.CreateRevision, e.ModRevision}
			if gradual != nil {
				gradual.put(one)
			} else {
				l.kvs = append(l.kvs, one)
			}
		}
	}
	return l, nil
}

// answer is what a page was answered.
type answer struct {
	page *clientv3.GetResponse
	err  error
}

// nextLimit is how many keys the next page is asked for. The store walks through all keys that are left for each page,
// so that many small ones cost the square of the keys; a page of values as the last one's is to have about 4 MiB, and
// never more than a quarter of what is taken.
func (r *run) nextLimit(limit int64, last []*mvccpb.KeyValue) int64 {
	const most, size = 20_000, 4 << 20
	bytes := 1
	for _, kv := range last {
		bytes += len(kv.Key) + len(kv.Value) + 32
	}
	return max(limit, min(most, int64(min(size, r.maxMessage/4)*len(last)/bytes)))
}

func (r *run) page(ctx context.Context, kv clientv3.KV, key, end string, limit, rev int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.DialTimeout)
	defer cancel()
	return kv.Get(ctx, key, clientv3.WithRange(end), clientv3.WithLimit(limit), clientv3.WithRev(rev))
}

// tooLarge reports whether an answer was larger than what is taken.
func tooLarge(err error) bool {
	return status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "larger than max")
}
