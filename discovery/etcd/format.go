package etcd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/vietddude/load-balancer/discovery"
)

// Formats that a [Source] reads.
const (
	// FormatLB is this balancer's own: services, policies and routes in folders of their own.
	FormatLB = "lb"
	// FormatEndpoints is that of etcd's naming/endpoints: <service>/<id> holds {"Op":0,"Addr":…,"Metadata":…}.
	FormatEndpoints = "endpoints"
	// FormatGoZero is that of go-zero: <service>/<lease> holds host:port.
	FormatGoZero = "go-zero"
	// FormatKratos is that of Kratos: /microservices/<service>/<id> holds an object with a list of endpoints.
	FormatKratos = "kratos"
	// FormatSkyDNS is that of SkyDNS and CoreDNS: the path is the domain's labels in reverse, the value {"host":…,"port":…}.
	FormatSkyDNS = "skydns"
)

// Formats are the names that [Options.Format] takes.
func Formats() []string {
	return []string{FormatLB, FormatEndpoints, FormatGoZero, FormatKratos, FormatSkyDNS}
}

// format is who wrote the keys: where they lie and how their values are read.
type format struct {
	// prefix is where keys lie unless something else is asked for. Rooted are those that begin with a slash; without a
	// prefix, the others lie at the root of the store, among whatever else is there.
	prefix string
	rooted bool
	// locate reads a key, without the prefix.
	locate func(below string) (place, *fault)
	// decode reads a backend's value. It reports false for one that announces none and is not wrong either.
	decode func(id string, value []byte) (discovery.Backend, bool, *fault)
}

// formatOf is the format of that name, the empty one meaning ours.
func formatOf(name string) (format, error) {
	switch name {
	case "", FormatLB:
		return format{prefix: DefaultPrefix, rooted: true, locate: locate, decode: always(decodeBackend)}, nil
	case FormatEndpoints:
		return format{locate: locateInstance, decode: always(decodeEndpointValue)}, nil
	case FormatGoZero:
		return format{locate: locateGoZero, decode: always(decodeGoZero)}, nil
	case FormatKratos:
		return format{prefix: "/microservices", rooted: true, locate: locateInstance, decode: always(decodeKratos)}, nil
	case FormatSkyDNS:
		return format{prefix: "/skydns", rooted: true, locate: locateSkyDNS, decode: decodeSkyDNS}, nil
	}
	return format{}, fmt.Errorf("the format is %q; want one of %s", name, strings.Join(Formats(), ", "))
}

func always(decode func(string, []byte) (discovery.Backend, *fault)) func(string, []byte) (discovery.Backend, bool, *fault) {
	return func(id string, value []byte) (discovery.Backend, bool, *fault) {
		b, f := decode(id, value)
		return b, true, f
	}
}

// locateInstance reads <service>/<id>.
func locateInstance(key string) (place, *fault) {
	service, id, found := strings.Cut(key, "/")
	if !found {
		return place{}, faultf(discovery.CodeBadKey, "want <service>/<id> below the prefix")
	}
	if err := discovery.CheckName(service); err != nil {
		return place{}, faultf(discovery.CodeBadName, "the service: %v", err)
	}
	if err := discovery.CheckID(id); err != nil {
		return place{}, faultf(discovery.CodeBadName, "the backend: %v", err)
	}
	return place{backendKind, service, id}, nil
}

// locateGoZero reads <service>/<lease>, where the lease, or the id given instead, is a decimal number. Whatever else
// lies there is somebody else's, since go-zero writes to the root of the store.
func locateGoZero(key string) (place, *fault) {
	i := strings.LastIndexByte(key, '/')
	if i < 0 || key[i+1:] == "" || strings.Trim(key[i+1:], "0123456789") != "" {
		return place{}, nil
	}
	if err := discovery.CheckName(key[:i]); err != nil {
		return place{}, faultf(discovery.CodeBadName, "the service: %v", err)
	}
	return place{backendKind, key[:i], key[i+1:]}, nil
}

// locateSkyDNS reads <labels…>/<id>: cluster/default/web/a is a of the service web.default.cluster. A record that stands
// alone below the prefix is a service of one backend, of the same name. Reverse zones announce nobody.
func locateSkyDNS(key string) (place, *fault) {
	labels := strings.Split(key, "/")
	if labels[0] == "arpa" || labels[len(labels)-1] == "" {
		return place{}, nil
	}
	id := labels[len(labels)-1]
	if len(labels) > 1 {
		labels = labels[:len(labels)-1]
	}
	slices.Reverse(labels)
	service := strings.Join(labels, ".")
	if err := discovery.CheckName(service); err != nil {
		return place{}, faultf(discovery.CodeBadName, "the service: %v", err)
	}
	if err := discovery.CheckID(id); err != nil {
		return place{}, faultf(discovery.CodeBadName, "the backend: %v", err)
	}
	return place{backendKind, service, id}, nil
}

// object reads a value that must be a JSON object.
func object(value []byte) (map[string]json.RawMessage, *fault) {
	text := bytes.TrimSpace(value)
	if len(text) == 0 || text[0] != '{' {
		return nil, faultf(discovery.CodeBadValue, "want a JSON object, not %q", clip(string(text)))
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, faultf(discovery.CodeBadValue, "the JSON cannot be read: %v", err)
	}
	return fields, nil
}

// decodeEndpointValue reads what naming/endpoints writes and nothing else.
func decodeEndpointValue(id string, value []byte) (discovery.Backend, *fault) {
	b := discovery.Backend{ID: id, Weight: 1}
	fields, f := object(value)
	if f != nil {
		return b, f
	}
	if fields["Addr"] == nil {
		return b, faultf(discovery.CodeBadURL, `the object has no "Addr"`)
	}
	return b, decodeEndpoint(&b, fields)
}

// decodeGoZero reads host:port.
func decodeGoZero(id string, value []byte) (discovery.Backend, *fault) {
	b := discovery.Backend{ID: id, Weight: 1}
	return b, setURL(&b, string(bytes.TrimSpace(value)))
}

// decodeKratos reads {"id":…, "name":…, "version":…, "metadata":{…}, "endpoints":["http://h:p?isSecure=false", "grpc://…"]}.
// Of the endpoints the first of http and https is taken, else the first of grpc; of the metadata weight and zone are
// ours, as Kratos' own selectors have the weight.
func decodeKratos(id string, value []byte) (discovery.Backend, *fault) {
	b := discovery.Backend{ID: id, Weight: 1}
	fields, f := object(value)
	if f != nil {
		return b, f
	}
	var endpoints []string
	if raw := fields["endpoints"]; raw != nil {
		if err := json.Unmarshal(raw, &endpoints); err != nil {
			return b, faultf(discovery.CodeBadURL, `"endpoints" must be a list of strings, not %s`, clip(string(raw)))
		}
	}
	address, f := kratosEndpoint(endpoints)
	if f != nil {
		return b, f
	}
	if f := setURL(&b, address); f != nil {
		return b, f
	}
	var version string
	if f := readString(fields, "version", discovery.CodeBadValue, &version); f != nil {
		return b, f
	}
	if version != "" {
		setMeta(&b, "version", version)
	}
	raw := fields["metadata"]
	if raw == nil {
		return b, nil
	}
	var meta map[string]json.RawMessage
	if err := json.Unmarshal(raw, &meta); err != nil {
		return b, faultf(discovery.CodeBadValue, `"metadata" must be an object: %v`, err)
	}
	if f := readWeight(meta, true, &b); f != nil {
		return b, f
	}
	if f := readString(meta, "zone", discovery.CodeBadValue, &b.Zone); f != nil {
		return b, f
	}
	for k, v := range meta {
		if k != "weight" && k != "zone" {
			setMeta(&b, k, plain(v))
		}
	}
	return b, nil
}

// kratosEndpoint is the address among an instance's endpoints, as [discovery.ParseURL] takes it.
func kratosEndpoint(endpoints []string) (string, *fault) {
	var grpc string
	for _, e := range endpoints {
		u, err := url.Parse(e)
		if err != nil {
			return "", faultf(discovery.CodeBadURL, "an endpoint is no URL; want http://host:port")
		}
		secure, _ := strconv.ParseBool(u.Query().Get("isSecure"))
		scheme := "http"
		if secure || u.Scheme == "https" || u.Scheme == "grpcs" {
			scheme = "https"
		}
		switch u.Scheme {
		case "http", "https":
			return scheme + "://" + u.Host, nil
		case "grpc", "grpcs":
			if grpc == "" {
				grpc = scheme + "://" + u.Host
			}
		}
	}
	if grpc == "" {
		return "", faultf(discovery.CodeBadURL, `none of the %d "endpoints" is http or grpc`, len(endpoints))
	}
	return grpc, nil
}

// decodeSkyDNS reads {"host":…, "port":…, "priority":…, "weight":…, "text":…, "ttl":…}. A record without a host (TXT, or
// the configuration of SkyDNS itself) or for mail announces nobody. A weight of 0 is what SkyDNS writes when none is
// given; a share of the whole as SRV records have it is what it means. The priority is shown only.
func decodeSkyDNS(id string, value []byte) (discovery.Backend, bool, *fault) {
	b := discovery.Backend{ID: id, Weight: 1}
	fields, f := object(value)
	if f != nil {
		return b, true, f
	}
	var host, text string
	var mail bool
	if f := readString(fields, "host", discovery.CodeBadURL, &host); f != nil {
		return b, true, f
	}
	_ = json.Unmarshal(fields["mail"], &mail) // absent, or of no meaning to us
	if host == "" || mail {
		return b, false, nil
	}
	port := strings.Trim(string(fields["port"]), `"`)
	if port == "" || port == "0" {
		return b, true, faultf(discovery.CodeBadURL, "the record has no port")
	}
	if f := setURL(&b, net.JoinHostPort(strings.TrimSuffix(host, "."), port)); f != nil {
		return b, true, f
	}
	if f := readWeight(fields, true, &b); f != nil {
		return b, true, f
	}
	b.Weight = max(b.Weight, 1)
	if f := readString(fields, "text", discovery.CodeBadValue, &text); f != nil {
		return b, true, f
	}
	if text != "" {
		setMeta(&b, "text", text)
	}
	if p := plain(fields["priority"]); p != "" && p != "0" {
		setMeta(&b, "priority", p)
	}
	return b, true, nil
}
