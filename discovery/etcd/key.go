package etcd

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/vietddude/load-balancer/discovery"
)

// kind is what a key holds.
type kind uint8

const (
	foreign     kind = iota // other parts' business, or nobody's
	backendKind             // services/<service>/<id>
	policyKind              // policies/<service>
	routeKind               // routes/<name>
)

// place is where a key lies in the layout.
type place struct {
	kind    kind
	service string // of a backend or policy
	id      string // of a backend; the name of a route
}

// locate reads a key, without the prefix.
func locate(key string) (place, *fault) {
	folder, rest, _ := strings.Cut(key, "/")
	switch folder {
	case "services":
		service, id, found := strings.Cut(rest, "/")
		if err := discovery.CheckName(service); err != nil {
			return place{}, faultf(discovery.CodeBadName, "the service: %v", err)
		}
		if !found {
			return place{}, faultf(discovery.CodeBadKey, "the key ends at the service; want services/<service>/<backend-id>")
		}
		if err := discovery.CheckID(id); err != nil {
			return place{}, faultf(discovery.CodeBadName, "the backend: %v", err)
		}
		return place{backendKind, service, id}, nil
	case "policies":
		if err := discovery.CheckName(rest); err != nil {
			return place{}, faultf(discovery.CodeBadName, "the service: %v", err)
		}
		return place{policyKind, rest, ""}, nil
	case "routes":
		if err := discovery.CheckName(rest); err != nil {
			return place{}, faultf(discovery.CodeBadName, "the route: %v", err)
		}
		return place{routeKind, "", rest}, nil
	case "sessions", "overrides", "status", "fleet":
		return place{}, nil
	}
	return place{}, faultf(discovery.CodeBadKey, "want services/<service>/<backend-id>, policies/<service> or routes/<name> below the prefix")
}

// printable is a key as people can read it: itself if it is of ordinary length and printable, else quoted, and clipped
// with a hash of the whole, so that different keys stay different.
func printable(key string) string {
	const limit = 512
	plain := utf8.ValidString(key) && strings.IndexFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
	if plain && len(key) <= limit {
		return key
	}
	hash := ""
	if len(key) > limit {
		h := fnv.New64a()
		h.Write([]byte(key))
		hash = fmt.Sprintf("…(%d bytes, %016x)", len(key), h.Sum64())
		key = key[:limit]
	}
	return strconv.QuoteToASCII(key) + hash
}
