//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vietddude/load-balancer/bench/peers/load"
)

// scenario is one kind of work that proxies are compared at.
type scenario struct {
	name  string
	title string
	spec  load.Spec // without what depends on the proxy and the run
	// session asks for a cookie that sticks a client to its backend, and a line in an access log for each request.
	session bool
	// answer is the size of the answers' bodies in bytes.
	answer int
}

const (
	keptConnections = 10_000
	openLoopRate    = 5_000
)

// scenarios are all there are, in the order in which they are shown.
func scenarios() []scenario {
	get := func(path string, conns int) load.Spec {
		return load.Spec{Kind: load.Loop, Method: "GET", Path: path, Conns: conns}
	}
	tls := func(s load.Spec) load.Spec { s.TLS = true; return s }
	of := func(kind load.Kind, s load.Spec) load.Spec { s.Kind = kind; return s }
	post := func(size int) load.Spec {
		return load.Spec{Kind: load.Loop, Method: "POST", Path: "/", Body: size, Conns: 32}
	}
	rate := get("/", 64)
	rate.Rate = openLoopRate
	sessions := get("/", 32)
	sessions.Session = true
	return []scenario{
		{name: "small", title: "100 B, 32 connections", spec: get("/", 32), answer: 100},
		{name: "many", title: "100 B, 512 connections", spec: get("/", 512), answer: 100},
		{name: "session", title: "100 B, 32 connections, session cookie, access log", spec: sessions, session: true, answer: 100},
		{name: "64k", title: "64 KiB, 32 connections", spec: get("/64k", 32), answer: 64 << 10},
		{name: "1m", title: "1 MiB, 16 connections", spec: get("/1m", 16), answer: 1 << 20},
		{name: "post", title: "POST of 1 KiB, 32 connections", spec: post(1 << 10), answer: 100},
		{name: "post-1m", title: "POST of 1 MiB, 32 connections", spec: post(1 << 20), answer: 100},
		{name: "tls", title: "TLS, 100 B, 32 connections", spec: tls(get("/", 32)), answer: 100},
		{name: "tls-new", title: "TLS 1.3, a new connection per request, ECDSA P-256", spec: tls(of(load.Connect, get("/", 32))), answer: 100},
		{name: "rate", title: fmt.Sprintf("100 B, %d requests/s in an open loop, 64 connections", openLoopRate), spec: rate, answer: 100},
		{name: "idle", title: fmt.Sprintf("%d idle connections", keptConnections), spec: of(load.Hold, get("/", keptConnections)), answer: 100},
		{name: "idle-tls", title: fmt.Sprintf("%d idle TLS connections", keptConnections), spec: tls(of(load.Hold, get("/", keptConnections))), answer: 100},
	}
}

// idle reports whether memory is what counts.
func (s scenario) idle() bool { return s.spec.Kind == load.Hold }

// load returns what the load generator is to do.
func (s scenario) load(addr string, proxy []int, warmup, duration time.Duration) load.Spec {
	spec := s.spec
	spec.Addr, spec.Proxy, spec.Warmup, spec.Duration, spec.Alone = addr, proxy, warmup, duration, true
	return spec
}

// selected returns the things whose names a list gives, in their own order; all of them for "all".
func selected[T any](all []T, name func(T) string, list, what string) ([]T, error) {
	if list == "all" {
		return all, nil
	}
	wanted := strings.Split(list, ",")
	var known []string
	var found []T
	for _, t := range all {
		known = append(known, name(t))
		if slices.Contains(wanted, name(t)) {
			found = append(found, t)
		}
	}
	for _, w := range wanted {
		if !slices.Contains(known, w) {
			return nil, fmt.Errorf("there is no %s %q; there are %s", what, w, strings.Join(known, ", "))
		}
	}
	return found, nil
}
