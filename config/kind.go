package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// fault is why a value is refused: what follows the key in a message, and what would be right.
type fault struct{ what, hint string }

// kind is a type of scalar values: how it is named in the documentation, read and written. Every kind reads the text of
// the scalar whatever YAML takes it for, so that "5", 5 and '5' are the same: sources such as Consul's tags know texts only.
type kind[V any] struct {
	name   string
	parse  func(text string) (V, *fault)
	format func(V) string
	// secret values are not repeated in messages or documentation.
	secret bool
}

// mustBe is the fault of a value that is not what the kind wants.
func mustBe(want, text, hint string) *fault {
	return &fault{"must be " + want + ", not " + quote(text), hint}
}

func boolean() kind[bool] {
	return kind[bool]{
		name: "true or false",
		parse: func(s string) (bool, *fault) {
			switch s {
			case "true", "True", "TRUE":
				return true, nil
			case "false", "False", "FALSE":
				return false, nil
			}
			hint := ""
			switch strings.ToLower(s) {
			case "yes", "on", "y", "1":
				hint = "write true"
			case "no", "off", "n", "0":
				hint = "write false"
			}
			return false, mustBe("true or false", s, hint)
		},
		format: strconv.FormatBool,
	}
}

// integer is a whole number in decimal digits.
func integer(low, high int) kind[int] {
	want := fmt.Sprintf("a whole number from %d to %d", low, high)
	return kind[int]{
		name: fmt.Sprintf("number, %d to %d", low, high),
		parse: func(s string) (int, *fault) {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil || n < int64(low) || n > int64(high) {
				return 0, mustBe(want, s, "")
			}
			return int(n), nil
		},
		format: strconv.Itoa,
	}
}

// fraction is a decimal number.
func fraction(low, high float64) kind[float64] {
	format := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	want := fmt.Sprintf("a number from %s to %s", format(low), format(high))
	return kind[float64]{
		name: fmt.Sprintf("number, %s to %s", format(low), format(high)),
		parse: func(s string) (float64, *fault) {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil || !(f >= low && f <= high) { // not the contrary: NaN compares false
				return 0, mustBe(want, s, "")
			}
			return f, nil
		},
		format: format,
	}
}

// share is a decimal number or a percentage.
func share(low, high float64) kind[float64] {
	k := fraction(low, high)
	number := k.parse
	k.name += fmt.Sprintf(", or %g%% to %g%%", low*100, high*100)
	k.parse = func(s string) (float64, *fault) {
		text, percent := strings.CutSuffix(s, "%")
		if !percent {
			return number(s)
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || !(f >= low*100 && f <= high*100) {
			return 0, mustBe(fmt.Sprintf("from %g%% to %g%%", low*100, high*100), s, "")
		}
		return f / 100, nil
	}
	return k
}

const longest = 10 * 365 * 24 * time.Hour

// duration is a number with a unit. A least of 0 allows 0; with zero, 0 is allowed beside what is at least low.
func duration(low time.Duration, zero bool) kind[time.Duration] {
	name := "duration"
	if low > 0 {
		name += ", at least " + formatDuration(low)
		if zero {
			name += ", or 0"
		}
	}
	return kind[time.Duration]{
		name: name,
		parse: func(s string) (time.Duration, *fault) {
			d, err := time.ParseDuration(s)
			switch {
			case err != nil:
				return 0, mustBe("a duration like 30s, 500ms or 1h30m", s, durationHint(s))
			case d == 0 && zero:
				return 0, nil
			case d < low:
				least := formatDuration(low)
				if zero && low > 0 {
					least += ", or 0"
				}
				return 0, mustBe("at least "+least, s, "")
			case d > longest:
				return 0, mustBe("at most 87600h", s, "")
			}
			return d, nil
		},
		format: formatDuration,
	}
}

func durationHint(s string) string {
	if f, err := strconv.ParseFloat(s, 64); err == nil && f >= 0 && f <= 1e6 {
		return "give a unit: " + s + "s"
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n <= 3650 {
			return fmt.Sprintf("write %dh", 24*n)
		}
	}
	return ""
}

// formatDuration writes 1h rather than 1h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// text is any text that the check, which may be nil, lets pass.
func text(name string, check func(string) *fault) kind[string] {
	return kind[string]{
		name: name,
		parse: func(s string) (string, *fault) {
			if check != nil {
				if f := check(s); f != nil {
					return "", f
				}
			}
			return s, nil
		},
		format: func(s string) string { return s },
	}
}

// normal is a text that is brought to its normal form.
func normal(name string, parse func(string) (string, *fault)) kind[string] {
	return kind[string]{name: name, parse: parse, format: func(s string) string { return s }}
}

// secretText is a text of at least so many bytes that is never shown.
func secretText(least int) kind[Secret] {
	return kind[Secret]{
		name: fmt.Sprintf("text, at least %d bytes", least),
		parse: func(s string) (Secret, *fault) {
			if len(s) < least {
				return "", &fault{fmt.Sprintf("has %d bytes, at least %d are needed", len(s), least), "make one by: openssl rand -hex 32"}
			}
			for i := range len(s) {
				if s[i] <= ' ' || s[i] >= 0x7f {
					return "", &fault{"must be of printable ASCII characters without spaces", "make one by: openssl rand -hex 32"}
				}
			}
			return Secret(s), nil
		},
		format: Secret.String,
		secret: true,
	}
}

// choice is one of some words. Those of later are known, and not available yet.
type choice struct {
	words []string
	later []string
	alias map[string]string
}

func (c choice) kind() kind[string] {
	return kind[string]{
		name:   strings.Join(c.words, ", "),
		parse:  c.parse,
		format: func(s string) string { return s },
	}
}

func (c choice) parse(s string) (string, *fault) {
	for _, w := range c.words {
		if s == w {
			return w, nil
		}
	}
	if w, ok := c.alias[s]; ok {
		return w, nil
	}
	possible := orList(c.words)
	if len(c.later) > 0 {
		possible += " (not available yet: " + strings.Join(c.later, ", ") + ")"
	}
	for _, w := range c.later {
		if s == w {
			return "", &fault{quote(s) + " is not available yet", "use " + possible}
		}
	}
	what := "must be one of " + possible + ", not " + quote(s)
	if near := nearest(strings.ReplaceAll(s, "_", "-"), c.words); near != "" {
		return "", &fault{what, "did you mean " + near + "?"}
	}
	return "", &fault{what, ""}
}

func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// nearest is the word that a mistyped one most likely stands for, empty if none is near.
func nearest(s string, words []string) string {
	s = strings.ToLower(s)
	if len(s) > 64 {
		return ""
	}
	best, least := "", max(2, len(s)/3)+1
	for _, w := range words {
		d := distance(s, w)
		if len(s) >= 3 && d >= least && (strings.HasPrefix(w, s) || strings.HasPrefix(s, w)) {
			d = least - 1
		}
		if d < least && d < max(len(w), len(s)) {
			best, least = w, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of neighbours that lead from a to b (optimal string
// alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
