//go:build linux

// Package backend is what all proxies are measured in front of: an HTTP/1.1 server of fixed answers that costs as little
// CPU as it can.
package backend

import (
	"bytes"
	"fmt"

	"github.com/vietddude/load-balancer/bench/peers/wire"
)

// sendfileFrom is the size from which an answer is sent without copying; smaller ones leave with their head in one write.
const sendfileFrom = 256 << 10

// Content returns the body that a path is answered with: 64 KiB for /64k, 1 MiB for /1m, 100 bytes for anything else.
func Content(path string) []byte {
	switch path {
	case "/64k":
		return pattern(64 << 10)
	case "/1m":
		return pattern(1 << 20)
	}
	return pattern(100)
}

func pattern(size int) []byte {
	return bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
}

// answer is one of the fixed answers.
type answer struct {
	memory []byte     // the head, and the body of a small answer
	body   *wire.Body // the body of a large one
}

func newAnswer(path string) (*answer, error) {
	content := Content(path)
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len(content))
	if len(content) < sendfileFrom {
		return &answer{memory: append([]byte(head), content...)}, nil
	}
	body, err := wire.NewBody(content)
	if err != nil {
		return nil, err
	}
	return &answer{memory: []byte(head), body: body}, nil
}

// answers are all of them by their paths; that of "" is for what has none of its own.
type answers map[string]*answer

func newAnswers() (answers, error) {
	all := answers{}
	for _, path := range []string{"", "/64k", "/1m"} {
		a, err := newAnswer(path)
		if err != nil {
			return nil, err
		}
		all[path] = a
	}
	return all, nil
}

// refusal answers a request whose body this backend cannot find the end of.
var refusal = answer{memory: []byte("HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")}

// forTarget returns the answer to a request line.
func (all answers) forTarget(line []byte) *answer {
	_, rest, _ := bytes.Cut(line, []byte(" "))
	target, _, _ := bytes.Cut(rest, []byte(" "))
	if a := all[string(target)]; a != nil {
		return a
	}
	return all[""]
}
