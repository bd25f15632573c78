package accesslog

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// Format is how a line looks.
type Format string

// The formats. The zero value is JSON.
const (
	// JSON is one object a line, with the fields time, duration_ms, client, method, host, target, proto, tls, status,
	// bytes_in, bytes_out, service, route, backend, attempts, hedge and error; empty strings are left out.
	JSON Format = "json"
	// Common is the common log format of NCSA httpd.
	Common Format = "common"
)

// ParseFormat returns the format of that name; an empty name is JSON's.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case "":
		return JSON, nil
	case JSON, Common:
		return f, nil
	}
	return "", fmt.Errorf("unknown access log format %q; use json or common", s)
}

// maxField is how many bytes of a text are written, before escaping.
const maxField = 4096

// appendLine appends the record's line with its newline.
func (f Format) appendLine(dst []byte, r *Record) []byte {
	if f == Common {
		return appendCommon(dst, r)
	}
	return appendJSON(dst, r)
}

func appendJSON(dst []byte, r *Record) []byte {
	dst = append(dst, `{"time":"`...)
	dst = appendTime(dst, r.Start.UTC())
	dst = append(dst, `","duration_ms":`...)
	dst = appendMillis(dst, r.Duration)
	if r.Client.IsValid() {
		dst = append(dst, `,"client":"`...)
		dst = r.Client.WithZone("").AppendTo(dst) // a zone may hold anything
		dst = append(dst, '"')
	}
	for _, t := range [...]struct{ key, value string }{
		{`,"method":`, r.Method}, {`,"host":`, r.Host}, {`,"target":`, r.Target}, {`,"proto":`, r.Proto},
		{`,"tls":`, r.TLS}, {`,"service":`, r.Service}, {`,"route":`, r.Route}, {`,"backend":`, r.Backend},
		{`,"hedge":`, r.Hedge}, {`,"error":`, r.Error},
	} {
		if t.value != "" {
			dst = append(dst, t.key...)
			dst = appendJSONString(dst, t.value)
		}
	}
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, `,"bytes_in":`...)
	dst = strconv.AppendInt(dst, r.BytesIn, 10)
	dst = append(dst, `,"bytes_out":`...)
	dst = strconv.AppendInt(dst, r.BytesOut, 10)
	dst = append(dst, `,"attempts":`...)
	dst = strconv.AppendInt(dst, int64(r.Attempts), 10)
	return append(dst, "}\n"...)
}

// appendTime appends a time of the years 0 to 9999 as 2006-01-02T15:04:05.000000Z, in half the time that formatting by a
// layout takes.
func appendTime(dst []byte, t time.Time) []byte {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	us := t.Nanosecond() / 1000
	dst = append(dst, byte('0'+year/1000%10), byte('0'+year/100%10))
	dst = append(appendTwo(dst, year%100), '-')
	dst = append(appendTwo(dst, int(month)), '-')
	dst = append(appendTwo(dst, day), 'T')
	dst = append(appendTwo(dst, hour), ':')
	dst = append(appendTwo(dst, minute), ':')
	dst = append(appendTwo(dst, second), '.')
	return append(appendTwo(appendTwo(appendTwo(dst, us/10000), us/100%100), us%100), 'Z')
}

func appendTwo(dst []byte, n int) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }

// appendMillis appends milliseconds with three decimals.
func appendMillis(dst []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	dst = strconv.AppendInt(dst, us/1000, 10)
	us %= 1000
	return append(dst, '.', byte('0'+us/100), byte('0'+us/10%10), byte('0'+us%10))
}

const hex = "0123456789abcdef"

// appendJSONString appends s in quotes. Bytes that are no UTF-8 become U+FFFD.
func appendJSONString(dst []byte, s string) []byte {
	s, clipped := clip(s)
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		from := i
		for i < len(s) && s[i] >= ' ' && s[i] < 0x7f && s[i] != '"' && s[i] != '\\' {
			i++
		}
		if dst = append(dst, s[from:i]...); i == len(s) {
			break
		}
		c := s[i]
		switch {
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == '\u2028' || r == '\u2029' || 0x80 <= r && r < 0xa0: // line ends and controls beyond ASCII
				dst = append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
			default:
				dst = utf8.AppendRune(dst, r)
			}
			i += n
			continue
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
	}
	if clipped {
		dst = append(dst, "…"...)
	}
	return append(dst, '"')
}

// appendCommon appends: client - - [time] "method target proto" status bytes.
func appendCommon(dst []byte, r *Record) []byte {
	if r.Client.IsValid() {
		dst = r.Client.WithZone("").AppendTo(dst)
	} else {
		dst = append(dst, '-')
	}
	dst = append(dst, " - - ["...)
	dst = r.Start.AppendFormat(dst, "02/Jan/2006:15:04:05 -0700")
	dst = append(dst, `] "`...)
	dst = appendEscaped(dst, r.Method)
	dst = append(dst, ' ')
	dst = appendEscaped(dst, r.Target)
	dst = append(dst, ' ')
	dst = appendEscaped(dst, r.Proto)
	dst = append(dst, `" `...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, r.BytesOut, 10)
	return append(dst, '\n')
}

// appendEscaped appends s as Apache httpd does: quotes and backslashes behind a backslash, what is not printable ASCII
// as \xHH.
func appendEscaped(dst []byte, s string) []byte {
	s, clipped := clip(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' || c >= 0x7f:
			dst = append(dst, '\\', 'x', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	if clipped {
		dst = append(dst, "..."...)
	}
	return dst
}

// clip cuts a text to the limit.
func clip(s string) (string, bool) {
	if len(s) <= maxField {
		return s, false
	}
	return s[:maxField], true
}
