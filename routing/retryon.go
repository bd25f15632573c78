package routing

// Failures is a set of ways in which an attempt fails without a response.
type Failures uint8

// The failures that can be told apart.
const (
	// ConnectFailed: no connection could be made, or not in time.
	ConnectFailed Failures = 1 << iota
	// ResetFailed: the connection broke off before the response's head was complete.
	ResetFailed
	// MalformedFailed: what came back is not HTTP.
	MalformedFailed
	// TimeoutFailed: the response's head did not come in time.
	TimeoutFailed
)

// StatusSet is a set of statuses from 400 to 599. The zero value is empty.
type StatusSet [4]uint64

// Add adds a status. Those that the set cannot hold are left out.
func (s *StatusSet) Add(status int) {
	if i := status - 400; i >= 0 && i < 200 {
		s[i/64] |= 1 << (i % 64)
	}
}

// Has reports whether the set holds a status.
func (s *StatusSet) Has(status int) bool {
	i := status - 400
	return i >= 0 && i < 200 && s[i/64]&(1<<(i%64)) != 0
}
