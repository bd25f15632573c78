package breaker

// word is the whole state of a breaker but its clock, in 64 bits from the top:
//
//	generation 30 | state 2 | count 16 | trials 16
//
// The count is of failures in a row while closed and of successful trials while half-open. Trials are the exchanges
// under way that were let through half-open, now or in an earlier generation.
type word uint64

const (
	fieldBits = 16
	stateBits = 2
	maxCount  = 1<<fieldBits - 1

	countShift = fieldBits
	stateShift = 2 * fieldBits
	genShift   = stateShift + stateBits
)

func (w word) generation() uint64 { return uint64(w >> genShift) }
func (w word) state() State       { return State(w >> stateShift & (1<<stateBits - 1)) }
func (w word) count() int         { return int(w >> countShift & maxCount) }
func (w word) trials() int        { return int(w & maxCount) }

// next is w in another state: of the following generation, with nothing counted and the same trials.
func (w word) next(s State) word {
	return (w>>genShift+1)<<genShift | word(s)<<stateShift | w&maxCount
}

func (w word) withCount(n int) word { return w&^(maxCount<<countShift) | word(n)<<countShift }

// Permit is what [Breaker.Allow] gives out and [Breaker.Done] takes back: the generation of the breaker's state. An
// outcome whose permit is of an earlier generation is dropped.
type Permit uint64

// trialBit marks the permit of a trial; the generation lies above it.
const trialBit Permit = 1

func (w word) permit(trial bool) Permit {
	p := Permit(w.generation() << 1)
	if trial {
		p |= trialBit
	}
	return p
}

func (p Permit) generation() uint64 { return uint64(p >> 1) }
func (p Permit) trial() bool        { return p&trialBit != 0 }
