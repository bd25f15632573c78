package etcd

import (
	"fmt"
	"strings"

	"github.com/vietddude/load-balancer/discovery"
)

// Lint tells what a source with these options would reject of a key and its value, and why; nothing when it takes them,
// or passes them over as other parts' business. Of the options Prefix, Format and Decoder matter. It is pure: nothing is
// connected to, and it may be called concurrently.
func Lint(o Options, key string, value []byte) []discovery.Problem {
	problem := func(code, detail string) []discovery.Problem {
		return []discovery.Problem{{Key: printable(key), Code: code, Detail: detail}}
	}
	prefix, f, err := o.layout()
	if err != nil {
		return problem(discovery.CodeBadOption, err.Error())
	}
	if !strings.HasPrefix(key, prefix) {
		return problem(discovery.CodeBadKey, fmt.Sprintf("the key is not below the prefix %s; no source of it reads the key", prefix))
	}
	c := newCore(prefix, f, o.Decoder)
	c.put(keyValue{key: key, value: value})
	if p, wrong := c.problem(key); wrong {
		return []discovery.Problem{p}
	}
	return nil
}
