package etcd

import (
	"maps"
	"slices"
	"strings"

	"github.com/vietddude/load-balancer/discovery"
)

// maxShared bounds the texts and the metas that are kept to be shared, each.
const maxShared = 10_000

// shared keeps what many backends say alike but once: their zones and metas. It is for one goroutine; what it hands out
// is never changed.
type shared struct {
	zones map[string]string
	metas map[string]map[string]string // by their content
}

func newShared() shared {
	return shared{zones: map[string]string{}, metas: map[string]map[string]string{}}
}

// backend is the backend with its zone and meta shared.
func (s *shared) backend(b discovery.Backend) discovery.Backend {
	if b.Zone != "" {
		b.Zone = share(s.zones, b.Zone, b.Zone)
	}
	if len(b.Meta) > 0 {
		b.Meta = share(s.metas, contentOf(b.Meta), b.Meta)
	}
	return b
}

// share is what was kept under a key before, or else the value, which is kept now.
func share[V any](kept map[string]V, key string, value V) V {
	if old, ok := kept[key]; ok {
		return old
	}
	if len(kept) == maxShared {
		clear(kept)
	}
	kept[key] = value
	return value
}

// contentOf is a text that two metas have in common only if they are equal.
func contentOf(meta map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		for _, text := range []string{k, meta[k]} {
			b.WriteByte(byte(len(text)))
			b.WriteByte(byte(len(text) >> 8))
			b.WriteByte(byte(len(text) >> 16))
			b.WriteString(text)
		}
	}
	return b.String()
}
