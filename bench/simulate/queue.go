package main

import (
	"container/heap"
	"time"
)

// queue is a server of some workers with one line before them, in virtual time: what arrives is begun in order of
// arrival, by the first worker that is free.
type queue struct {
	free freeAt
	busy time.Duration // of all workers together
}

func newQueue(workers int) *queue { return &queue{free: make(freeAt, workers)} }

// serve returns when a piece of work is done that arrives at a time, not before earlier ones did.
func (q *queue) serve(arrives, takes time.Duration) time.Duration {
	begin := max(arrives, q.free[0])
	q.free[0] = begin + takes
	heap.Fix(&q.free, 0)
	q.busy += takes
	return begin + takes
}

// freeAt is when each worker is free next, the earliest first.
type freeAt []time.Duration

func (f freeAt) Len() int           { return len(f) }
func (f freeAt) Less(i, j int) bool { return f[i] < f[j] }
func (f freeAt) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *freeAt) Push(x any)        { *f = append(*f, x.(time.Duration)) }
func (f *freeAt) Pop() any          { panic("workers do not leave") }
