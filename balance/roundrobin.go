package balance

// roundRobin picks one candidate after the other, whatever their weights.
type roundRobin struct {
	cursor *Cursor
	n      uint64
}

func newRoundRobin(cs []Candidate, o *Options) Picker {
	return &roundRobin{cursor: o.Cursor, n: uint64(len(cs))}
}

func (r *roundRobin) Pick(Query) int { return int(r.cursor.next() % r.n) }
