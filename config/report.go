package config

import (
	"fmt"
	"strconv"
)

// report gathers problems. Those beyond a bound are dropped: nobody reads them, and they may come from noise.
type report struct {
	problems Problems
	seen     map[seenProblem]bool
	// faults counts all problems, also those that are not kept: whether something is wrong with a part is told by it.
	faults int
}

// seenProblem tells problems apart. One place that is reached by several ways, through an alias, is told once.
type seenProblem struct {
	at   pos
	what string
}

const maxProblems = 500

// add tells of a problem that needs no key, or names it in its message.
func (r *report) add(at pos, key, message, hint string) { r.put(at, key, message, message, hint) }

func (r *report) addf(at pos, key, hint, format string, args ...any) {
	r.add(at, key, fmt.Sprintf(format, args...), hint)
}

// about tells of a problem with a setting: the message begins with its key.
func (r *report) about(at pos, key, what, hint string) {
	message := what
	if key != "" {
		message = key + " " + what
	}
	r.put(at, key, message, what, hint)
}

func (r *report) put(at pos, key, message, what, hint string) {
	r.faults++
	id := seenProblem{at, what}
	if len(r.problems) >= maxProblems || at.src != nil && r.seen[id] {
		return
	}
	if r.seen == nil {
		r.seen = map[seenProblem]bool{}
	}
	r.seen[id] = true
	r.problems = append(r.problems, at.problem(key, message, hint))
}

// quote is a foreign text for a message: bounded, and without the password of a URL that was put in a wrong place.
func quote(s string) string { return strconv.Quote(clip(RedactURL(s))) }
