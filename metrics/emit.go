package metrics

import (
	"bufio"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// emitter writes one metric after another in Prometheus's text format (version 0.0.4), in which all of one name stand
// together. It is walked over the snapshot once for each metric and lets through what belongs to that one: so a scrape
// of a great table needs no more memory than that of a small one.
//
// counter, gauge, time, codes and histogram give one sample each, or one set; the label values are in the order of the
// table.
type emitter struct {
	out    *bufio.Writer
	bounds []string // of histograms' buckets, in seconds
	build  Build

	only   id
	headed bool
	order  [ids][]int // of the labels, by name
	buf    []byte
	coded  []string // the labels of one class of status
}

func newEmitter(out *bufio.Writer, bounds []time.Duration, build Build) *emitter {
	e := &emitter{out: out, build: build}
	for _, b := range bounds {
		e.bounds = append(e.bounds, formatBound(b.Seconds()))
	}
	for i, m := range table {
		order := make([]int, len(m.Labels))
		for j := range order {
			order[j] = j
		}
		slices.SortFunc(order, func(a, b int) int { return strings.Compare(m.Labels[a], m.Labels[b]) })
		e.order[i] = order
	}
	return e
}

// begin has the samples of one metric let through from now on.
func (e *emitter) begin(m id) { e.only, e.headed = m, false }

func (e *emitter) counter(m id, n uint64, labels ...string) {
	if m == e.only {
		e.sample("", labels, float64(n))
	}
}

func (e *emitter) gauge(m id, v float64, labels ...string) {
	if m == e.only {
		e.sample("", labels, v)
	}
}

// time gives a moment as Unix time, and nothing for the zero time.
func (e *emitter) time(m id, t time.Time, labels ...string) {
	if !t.IsZero() {
		e.gauge(m, float64(t.UnixMilli())/1e3, labels...)
	}
}

// codes gives a counter for each class of status. A 1xx is never the last word but for 101, so its class is given only
// once it has occurred; the others are there from the start, so that a rate sees the first one.
func (e *emitter) codes(m id, codes [6]uint64, labels ...string) {
	if m != e.only {
		return
	}
	for class, n := range codes {
		if class == 1 && n == 0 {
			continue
		}
		e.coded = append(append(e.coded[:0], labels...), classes[class])
		e.counter(m, n, e.coded...)
	}
}

// histogram gives a histogram. Its count is the sum of the buckets, so that the two agree whatever happened between
// their readings.
func (e *emitter) histogram(m id, h Histogram, labels ...string) {
	if m != e.only {
		return
	}
	b := e.begun("_bucket", labels)
	if len(labels) > 0 {
		b = append(b, `,le="`...)
	} else {
		b = append(b, `{le="`...)
	}
	common := len(b)
	var n uint64
	for i, bound := range e.bounds {
		if i < len(h.Buckets) {
			n += h.Buckets[i]
		}
		b = append(append(b[:common], bound...), `"} `...)
		e.write(strconv.AppendUint(b, n, 10))
	}
	for i := len(e.bounds); i < len(h.Buckets); i++ {
		n += h.Buckets[i]
	}
	e.write(strconv.AppendUint(append(b[:common], `+Inf"} `...), n, 10))
	e.sample("_sum", labels, h.Sum.Seconds())
	e.sample("_count", labels, float64(n))
}

// any reports whether anything was observed.
func (h *Histogram) any() bool {
	for _, n := range h.Buckets {
		if n > 0 {
			return true
		}
	}
	return false
}

// sample writes one line of the metric that is let through.
func (e *emitter) sample(suffix string, labels []string, v float64) {
	b := e.begun(suffix, labels)
	if len(labels) > 0 {
		b = append(b, '}')
	}
	e.write(appendValue(append(b, ' '), v))
}

// begun is the beginning of a line, up to the end of the labels' values; before the first of a metric comes its head.
func (e *emitter) begun(suffix string, labels []string) []byte {
	m := &table[e.only]
	b := e.buf[:0]
	if !e.headed {
		e.headed = true
		b = append(append(append(append(b, "# HELP "...), m.Name...), ' '), helpEscapes.Replace(m.Help)...)
		b = append(append(append(append(b, "\n# TYPE "...), m.Name...), ' '), m.Kind...)
		e.write(b)
		b = e.buf[:0]
	}
	b = append(append(b, m.Name...), suffix...)
	open := byte('{')
	for _, i := range e.order[e.only] {
		b = append(append(append(b, open), m.Labels[i]...), '=', '"')
		b = appendLabel(b, labels[i])
		b = append(b, '"')
		open = ','
	}
	return b
}

// write ends a line. What could not be written is told by the writer at its end.
func (e *emitter) write(line []byte) {
	line = append(line, '\n')
	_, _ = e.out.Write(line)
	e.buf = line
}

var helpEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`)

// appendLabel writes a label's value with its escapes, and what is no UTF-8 replaced: the format has nothing else.
func appendLabel(b []byte, v string) []byte {
	plain := true
	for i := 0; i < len(v) && plain; i++ {
		plain = v[i] < 0x80 && v[i] != '\\' && v[i] != '"' && v[i] != '\n'
	}
	if plain {
		return append(b, v...)
	}
	return append(b, labelEscapes.Replace(strings.ToValidUTF8(v, "\uFFFD"))...)
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

// appendValue writes a number: whole ones as such, which most are.
func appendValue(b []byte, v float64) []byte {
	if v == math.Trunc(v) && math.Abs(v) < 1e6 {
		return strconv.AppendInt(b, int64(v), 10)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

func formatBound(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
