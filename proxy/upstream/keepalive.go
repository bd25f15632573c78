package upstream

import (
	"strconv"
	"strings"
	"time"
)

// keepAliveTimeout is the timeout that Keep-Alive fields name ("timeout=5, max=100"), 0 for none.
func keepAliveTimeout(values []string) time.Duration {
	for _, v := range values {
		for p := range strings.SplitSeq(v, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
			if !strings.EqualFold(name, "timeout") {
				continue
			}
			if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 24); err == nil {
				return time.Duration(n) * time.Second
			}
		}
	}
	return 0
}
