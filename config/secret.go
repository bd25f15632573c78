package config

import (
	"log/slog"
	"regexp"
	"strings"
	"unicode/utf8"
)

const hidden = "***"

// Secret is a text that prints as *** wherever it is formatted, logged or marshalled.
type Secret string

// Reveal is the text itself.
func (s Secret) Reveal() string { return string(s) }

// String is *** unless the secret is empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString keeps %#v from telling.
func (s Secret) GoString() string { return `config.Secret("` + s.String() + `")` }

// MarshalText keeps encoders from telling.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue keeps loggers from telling.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

var (
	// userinfo is what stands before the @ of a URL: greedy, since passwords may hold an @, a slash or, by mistake, a space.
	userinfo = regexp.MustCompile(`://([^"']*)@`)
	// bareUserinfo is the same where the scheme was forgotten.
	bareUserinfo = regexp.MustCompile(`(?:^LB_[A-Z_]+=|^|[\s"'\[,{])([^\s"'\[\],{}/]+)@`)
	// secretQuery is a query parameter of a discovery URL that carries a secret.
	secretQuery = regexp.MustCompile(`(?i)[?&](?:token|password|pass|secret|key)=([^\s"'&#,}\]]*)`)
	// secretKey is a key whose value is a secret, as far as the value reaches: to the closing quote, else to the end of
	// the line, since a plain text may hold nearly anything.
	secretKey = regexp.MustCompile(`(?i)(?:^|[\s{,"'.?])(?:keys?|token|password|secret)["']?\s*:\s*("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s#][^#]*)`)
)

// RedactURL is a discovery URL without its user, password and token.
func RedactURL(s string) string { text, _ := redact(s, 0); return text }

// redact hides what may be a secret in a line of a configuration, and tells where the byte at that offset went.
func redact(line string, at int) (string, int) {
	for _, re := range []*regexp.Regexp{secretKey, userinfo, bareUserinfo, secretQuery} {
		var b strings.Builder
		end, moved := 0, at
		for _, m := range re.FindAllStringSubmatchIndex(line, -1) {
			from, to := m[2], m[3]
			if from == to || from < end {
				continue
			}
			b.WriteString(line[end:from])
			start := b.Len()
			b.WriteString(hidden)
			switch {
			case at >= to:
				moved += len(hidden) - (to - from)
			case at >= from:
				moved = start
			}
			end = to
		}
		if end > 0 {
			b.WriteString(line[end:])
			line, at = b.String(), moved
		}
	}
	return line, at
}

// clip bounds a foreign text for a message.
func clip(s string) string {
	const limit = 60
	if len(s) <= limit {
		return s
	}
	n := limit
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
