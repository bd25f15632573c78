package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Environment is the [Problem.File] of what is wrong with an environment variable.
const Environment = "environment"

// Problem is one thing that is wrong with a configuration. It holds no secret.
type Problem struct {
	// File is the name of the text, [Environment], or empty for one without a name.
	File string `json:"file,omitempty"`
	// Line and Column count from 1, columns in characters; 0 means that the problem has no place in a file.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Key is the path of the setting, like services.web.retry.max_retries; empty where none is concerned.
	Key string `json:"key,omitempty"`
	// Text is the offending source line, shortened around the column if it is long; secrets are replaced by ***.
	Text string `json:"text,omitempty"`
	// Message says what is wrong; Hint, which may be empty, what would be right.
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`

	// caret is the byte of Text that Column is about.
	caret int
}

// Error is file:line:column: message; hint, without the parts that are unknown.
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
	}
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", p.Line, p.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(p.say())
	return b.String()
}

func (p Problem) say() string {
	if p.Hint == "" {
		return p.Message
	}
	return p.Message + "; " + p.Hint
}

// Problems are all that is wrong with a configuration, in order of their places. A nil one is no error: hand it on by
// [Problems.Err].
type Problems []Problem

// Error tells each problem on a line of its own, followed by the offending line and a caret below the place.
func (ps Problems) Error() string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.Error())
		if p.Text == "" {
			continue
		}
		b.WriteString("\n    " + p.Text)
		if p.Line > 0 {
			b.WriteString("\n    " + pad(p.Text[:min(p.caret, len(p.Text))]) + "^")
		}
	}
	return b.String()
}

// Summary tells all problems in one line.
func (ps Problems) Summary() string {
	const most = 5
	var parts []string
	for i, p := range ps {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(ps)-most))
			break
		}
		text := p.say()
		if p.Line > 0 {
			text = fmt.Sprintf("%s (line %d, column %d)", text, p.Line, p.Column)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " | ")
}

// Err is the problems as an error, nil if there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Unwrap gives the single problems to errors.As.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		env := func(p Problem) int {
			if p.File == Environment {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(env(a), env(b)), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// pad is as wide as the text on a terminal of the same tab stops.
func pad(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, text)
}

// textError tells the problems of an announced text in one line, since it travels into log lines and labels of items.
type textError struct{ Problems }

func (e textError) Error() string   { return e.Summary() }
func (e textError) Unwrap() []error { return []error{e.Problems} }

func (ps Problems) textErr() error {
	if len(ps) == 0 {
		return nil
	}
	return textError{ps}
}
