package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vietddude/load-balancer/discovery"
	"github.com/vietddude/load-balancer/routing"
)

// version is that of the encoding. It changes with every change of what follows.
const version = 1

var magic = [7]byte{'l', 'b', 's', 'n', 'a', 'p', 0}

const headLen = len(magic) + 1 + 8 + sha256.Size

// encode writes a state that was written down at a time, in a file's form. The size is about what is expected.
func encode(st *routing.State, at time.Time, size int64) []byte {
	e := encoder(make([]byte, headLen, max(size+size/8, 4<<10)))
	e.time(at)
	list(&e, st.Sources, func(e *encoder, s *routing.SourceState) {
		e.text(s.Name)
		e.time(s.Synced)
		list(e, s.Services, (*encoder).service)
		list(e, s.Routes, (*encoder).route)
	})
	list(&e, st.Overrides, func(e *encoder, o *routing.OverriddenBackend) {
		e.text(o.Service)
		e.text(o.ID)
		e.override(&o.Override)
	})
	list(&e, st.Past, func(e *encoder, p *routing.PastService) {
		e.text(p.Name)
		e.time(p.Since)
		list(e, p.Policies, func(e *encoder, t *routing.PolicyText) {
			e.text(t.Source)
			e.bytes(t.Text)
		})
		list(e, p.Routes, func(e *encoder, r *routing.PastRoute) {
			e.text(r.Source)
			e.route(&r.Route)
		})
	})
	return seal(e)
}

// seal writes the head of a file before what follows it.
func seal(file []byte) []byte {
	copy(file, magic[:])
	file[len(magic)] = version
	binary.BigEndian.PutUint64(file[len(magic)+1:], uint64(len(file)-headLen))
	sum := sha256.Sum256(file[headLen:])
	copy(file[headLen-sha256.Size:], sum[:])
	return file
}

// encoder appends values: numbers as varints, texts behind their length.
type encoder []byte

func (e *encoder) number(n int64) { *e = binary.AppendVarint(*e, n) }

func (e *encoder) text(s string) {
	e.number(int64(len(s)))
	*e = append(*e, s...)
}

// bytes tells nil from empty.
func (e *encoder) bytes(b []byte) {
	e.truth(b != nil)
	if b != nil {
		e.text(string(b))
	}
}

func (e *encoder) truth(b bool) {
	if b {
		*e = append(*e, 1)
	} else {
		*e = append(*e, 0)
	}
}

// time tells the zero time from all others.
func (e *encoder) time(t time.Time) {
	e.truth(!t.IsZero())
	if !t.IsZero() {
		e.number(t.UnixNano())
	}
}

func (e *encoder) pairs(m map[string]string) {
	e.number(int64(len(m)))
	if len(m) == 0 {
		return
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		e.text(k)
		e.text(m[k])
	}
}

func list[T any](e *encoder, items []T, one func(*encoder, *T)) {
	e.number(int64(len(items)))
	for i := range items {
		one(e, &items[i])
	}
}

func (e *encoder) service(s *discovery.Service) {
	e.text(s.Name)
	list(e, s.Backends, (*encoder).backend)
	e.bytes(s.Policy)
	list(e, s.Routes, (*encoder).route)
	list(e, s.Stale, (*encoder).stale)
}

func (e *encoder) backend(b *discovery.Backend) {
	e.text(b.ID)
	e.text(b.URL)
	e.number(int64(b.Weight))
	e.text(b.Zone)
	e.pairs(b.Meta)
	e.truth(b.Draining)
	e.truth(b.Disabled)
	e.truth(b.Failing)
}

func (e *encoder) override(o *routing.Override) {
	e.truth(o.Weight != nil)
	if o.Weight != nil {
		e.number(int64(*o.Weight))
	}
	e.truth(o.Draining)
	e.truth(o.Disabled)
	e.truth(o.Removed)
	e.truth(o.Added != nil)
	if o.Added != nil {
		e.backend(o.Added)
	}
}

func (e *encoder) route(r *discovery.Route) {
	for _, s := range [...]string{r.Name, r.Host, r.Path, r.Method, r.StripPrefix, r.Service} {
		e.text(s)
	}
	e.pairs(r.Headers)
	e.stale(&r.Stale)
}

func (e *encoder) stale(s *discovery.Stale) {
	for _, t := range [...]string{s.Part, s.ID, s.Reason, s.Detail} {
		e.text(t)
	}
}

// errCut says that the text ends before what it holds.
var errCut = errors.New("the file is cut short")

// decode reads what encode wrote. Whatever the bytes, it returns a state or says why not.
func decode(file []byte) (st routing.State, at time.Time, err error) {
	switch {
	case len(file) < headLen:
		return st, at, errCut
	case !bytes.Equal(file[:len(magic)], magic[:]):
		return st, at, errors.New("the file is no snapshot")
	case file[len(magic)] != version:
		return st, at, fmt.Errorf("the file is of version %d, and this program reads version %d", file[len(magic)], version)
	}
	rest := file[headLen:]
	switch n := binary.BigEndian.Uint64(file[len(magic)+1:]); {
	case uint64(len(rest)) < n:
		return st, at, errCut
	case uint64(len(rest)) > n:
		return st, at, errors.New("the file has more than it says")
	case sha256.Sum256(rest) != [sha256.Size]byte(file[headLen-sha256.Size:headLen]):
		return st, at, errors.New("the checksum is wrong")
	}
	// The texts of the state are parts of this one, so that a great state takes few allocations.
	d := decoder{rest: string(rest)}
	at = d.time()
	st.Sources = each(&d, func(d *decoder) routing.SourceState {
		return routing.SourceState{Name: d.text(), Synced: d.time(), Services: each(d, (*decoder).service), Routes: each(d, (*decoder).route)}
	})
	st.Overrides = each(&d, func(d *decoder) routing.OverriddenBackend {
		return routing.OverriddenBackend{Service: d.text(), ID: d.text(), Override: d.override()}
	})
	st.Past = each(&d, func(d *decoder) routing.PastService {
		return routing.PastService{
			Name: d.text(), Since: d.time(),
			Policies: each(d, func(d *decoder) routing.PolicyText { return routing.PolicyText{Source: d.text(), Text: d.bytes()} }),
			Routes:   each(d, func(d *decoder) routing.PastRoute { return routing.PastRoute{Source: d.text(), Route: d.route()} }),
		}
	})
	if d.err == nil && d.rest != "" {
		d.err = errors.New("something follows the end of the state")
	}
	if d.err != nil {
		return routing.State{}, time.Time{}, d.err
	}
	return st, at, nil
}

// decoder reads values off the front of a text. After an error it reads zero values.
type decoder struct {
	rest string
	err  error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.rest = ""
}

func (d *decoder) number() int64 {
	var n uint64
	for i := 0; i < len(d.rest) && i < binary.MaxVarintLen64; i++ {
		c := d.rest[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.rest = d.rest[i+1:]
			return int64(n>>1) ^ -int64(n&1)
		}
	}
	d.fail(errCut)
	return 0
}

// length is a number of things that each take at least a byte.
func (d *decoder) length() int {
	n := d.number()
	if n < 0 || n > int64(len(d.rest)) {
		d.fail(errCut)
		return 0
	}
	return int(n)
}

func (d *decoder) text() string {
	n := d.length()
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) bytes() []byte {
	if !d.truth() {
		return nil
	}
	return []byte(d.text())
}

func (d *decoder) truth() bool {
	if d.rest == "" || d.rest[0] > 1 {
		d.fail(errCut)
		return false
	}
	b := d.rest[0] == 1
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) time() time.Time {
	if !d.truth() {
		return time.Time{}
	}
	return time.Unix(0, d.number())
}

func (d *decoder) pairs() map[string]string {
	n := d.length()
	if n == 0 {
		return nil
	}
	m := make(map[string]string, min(n, 1024))
	for range n {
		k := d.text()
		m[k] = d.text()
	}
	return m
}

// each reads a list; an empty one is nil.
func each[T any](d *decoder, one func(*decoder) T) []T {
	n := d.length()
	if n == 0 {
		return nil
	}
	// What a length says is not believed for more than a moment's memory.
	out := make([]T, 0, min(n, 1024))
	for range n {
		if d.err != nil {
			return nil
		}
		out = append(out, one(d))
	}
	return slices.Clip(out)
}

func (d *decoder) service() discovery.Service {
	return discovery.Service{
		Name: d.text(), Backends: each(d, (*decoder).backend),
		Policy: d.bytes(), Routes: each(d, (*decoder).route), Stale: each(d, (*decoder).stale),
	}
}

func (d *decoder) route() discovery.Route {
	return discovery.Route{
		Name: d.text(), Host: d.text(), Path: d.text(), Method: d.text(), StripPrefix: d.text(), Service: d.text(),
		Headers: d.pairs(), Stale: d.stale(),
	}
}

func (d *decoder) stale() discovery.Stale {
	return discovery.Stale{Part: d.text(), ID: d.text(), Reason: d.text(), Detail: d.text()}
}

func (d *decoder) backend() discovery.Backend {
	return discovery.Backend{
		ID: d.text(), URL: d.text(), Weight: int(d.number()), Zone: d.text(), Meta: d.pairs(), Draining: d.truth(), Disabled: d.truth(),
		Failing: d.truth(),
	}
}

func (d *decoder) override() routing.Override {
	var o routing.Override
	if d.truth() {
		n := int(d.number())
		o.Weight = &n
	}
	o.Draining, o.Disabled, o.Removed = d.truth(), d.truth(), d.truth()
	if d.truth() {
		b := d.backend()
		o.Added = &b
	}
	return o
}
