package config

import (
	"slices"
	"strconv"
	"strings"
)

// retryWords are the failures without a response, in the order in which they are written.
var retryWords = []string{"connect", "reset", "malformed", "timeout"}

// retryOn is a list of failures and statuses, in a text. Its normal form has the words first, then the statuses in order.
func retryOn() kind[string] {
	const want = "a list of connect, reset, malformed, timeout, and statuses: 429 and 500 to 599"
	return kind[string]{
		name: "list of: connect, reset, malformed, timeout, status",
		parse: func(s string) (string, *fault) {
			if strings.TrimSpace(s) == "none" {
				return "none", nil
			}
			var words, statuses []string
			for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
				status, err := strconv.Atoi(part)
				switch {
				case slices.Contains(retryWords, part):
					words = append(words, part)
				case err == nil && len(part) == 3 && (status == 429 || status >= 500 && status <= 599):
					statuses = append(statuses, part)
				default:
					return "", mustBe(want, part, "")
				}
			}
			if len(words)+len(statuses) == 0 {
				return "", mustBe(want, s, "write none for no retries but of what was never sent to a backend")
			}
			slices.SortFunc(words, func(a, b string) int { return slices.Index(retryWords, a) - slices.Index(retryWords, b) })
			slices.Sort(statuses)
			return strings.Join(slices.Concat(slices.Compact(words), slices.Compact(statuses)), ","), nil
		},
		format: func(s string) string { return s },
	}
}

// listOrText is a setting whose value may be written as a list too: its items are joined by commas.
func (f policyField) listOrText() policyField {
	decode := f.decode
	f.decode = func(d *decoder, n *node, to *Overlay) {
		if n.kind == listNode && len(n.items) > 0 {
			var parts []string
			for _, item := range n.items {
				if item.kind != scalarNode {
					decode(d, item, to) // says what is wrong with it
					return
				}
				parts = append(parts, item.text)
			}
			n = &node{kind: scalarNode, pos: n.pos, text: strings.Join(parts, ",")}
		}
		decode(d, n, to)
	}
	return f
}
