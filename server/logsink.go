package server

import (
	"log/slog"

	"github.com/vietddude/load-balancer/discovery"
)

// maxLoggedProblems bounds how many rejected items of a source are remembered as logged; further ones are not logged.
const maxLoggedProblems = 10_000

// logSink hands a source's announcements on and logs what people must know of them, each once: that the source is out
// of step and in step again, and what was rejected.
type logSink struct {
	discovery.Sink
	log *slog.Logger

	outage   string                       // the error that was logged last; empty when in step
	problems map[string]discovery.Problem // those logged, by key
	listed   map[string]bool              // the keys rejected since a resync began; nil outside of one
}

func newLogSink(sink discovery.Sink, log *slog.Logger) *logSink {
	return &logSink{Sink: sink, log: log, problems: map[string]discovery.Problem{}}
}

func (s *logSink) Resync(reason string) {
	s.log.Debug("resync", "reason", reason)
	s.listed = map[string]bool{}
	s.Sink.Resync(reason)
}

func (s *logSink) Synced() {
	if s.outage != "" {
		s.log.Info("the source is in step again")
		s.outage = ""
	}
	if s.listed != nil {
		for key := range s.problems {
			if !s.listed[key] {
				delete(s.problems, key)
			}
		}
		s.listed = nil
	}
	s.Sink.Synced()
}

func (s *logSink) Failed(err error) {
	if text := err.Error(); text != s.outage {
		s.log.Warn("the source is out of step; what it announced stays in force", "err", err)
		s.outage = text
	}
	s.Sink.Failed(err)
}

func (s *logSink) Reject(p discovery.Problem) {
	if s.listed != nil {
		s.listed[p.Key] = true
	}
	if old, ok := s.problems[p.Key]; (!ok || old != p) && (ok || len(s.problems) < maxLoggedProblems) {
		s.problems[p.Key] = p
		s.log.Warn("an item is rejected; all others are taken", "key", p.Key, "reason", p.Code, "detail", p.Detail)
	}
	s.Sink.Reject(p)
}

func (s *logSink) Accept(key string) {
	if _, ok := s.problems[key]; ok {
		delete(s.problems, key)
		s.log.Info("an item that was rejected is taken or gone", "key", key)
	}
	s.Sink.Accept(key)
}
