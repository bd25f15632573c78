package backend

import "sync/atomic"

// lazy is a part of a record that most records never need: made when first used, so that an idle one takes a pointer.
// The zero value is ready; its methods may be called concurrently.
type lazy[T any] struct{ p atomic.Pointer[T] }

// use returns the part, made now if there is none.
func (l *lazy[T]) use() *T {
	if p := l.p.Load(); p != nil {
		return p
	}
	l.p.CompareAndSwap(nil, new(T))
	return l.p.Load()
}

// used returns the part, nil if there is none.
func (l *lazy[T]) used() *T { return l.p.Load() }
