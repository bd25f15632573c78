package embedded

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// passing are messages about states that a member without peers passes through while it starts, and that etcd calls
// errors; it tries again by itself.
var passing = map[string]bool{"failed to update storage version": true}

// gate is a slog.Handler that makes debug messages of those that are passing, and of all once the server is being
// closed: etcd calls the end of its own listeners an error.
type gate struct {
	slog.Handler
	closing *atomic.Bool
}

func (g gate) level(l slog.Level) slog.Level {
	if g.closing.Load() {
		return slog.LevelDebug
	}
	return l
}

// Enabled reports whether a message of that level is wanted now.
func (g gate) Enabled(ctx context.Context, l slog.Level) bool {
	return g.Handler.Enabled(ctx, g.level(l))
}

// Handle passes a message on, with the level that it deserves now.
func (g gate) Handle(ctx context.Context, r slog.Record) error {
	if r.Level = g.level(r.Level); passing[r.Message] {
		r.Level = slog.LevelDebug
	}
	if !g.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return g.Handler.Handle(ctx, r)
}

// WithAttrs returns a gate with attributes.
func (g gate) WithAttrs(as []slog.Attr) slog.Handler {
	return gate{g.Handler.WithAttrs(as), g.closing}
}

// WithGroup returns a gate with a group.
func (g gate) WithGroup(name string) slog.Handler {
	return gate{g.Handler.WithGroup(name), g.closing}
}
