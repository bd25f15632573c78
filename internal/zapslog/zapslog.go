// Package zapslog lets libraries that log through zap write to a slog.Logger.
package zapslog

import (
	"context"
	"log/slog"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// New returns a zap logger that hands entries of at least the given level to l, in l's own terms and subject to its own
// level. A nil l discards everything.
func New(l *slog.Logger, least zapcore.Level) *zap.Logger {
	if l == nil {
		return zap.NewNop()
	}
	return zap.New(&core{handler: l.Handler(), least: least})
}

// core is a zapcore.Core in front of a slog.Handler. It is immutable.
type core struct {
	handler slog.Handler
	least   zapcore.Level
}

// Enabled reports whether an entry of that level could be written.
func (c *core) Enabled(l zapcore.Level) bool {
	return l >= c.least && c.handler.Enabled(context.Background(), level(l))
}

// With returns a core that adds fields to every entry.
func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{handler: c.handler.WithAttrs(attrs(fields)), least: c.least}
}

// Check adds the core to those that write the entry.
func (c *core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write hands one entry over.
func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	at := e.Time
	if at.IsZero() {
		at = time.Now()
	}
	r := slog.NewRecord(at, level(e.Level), e.Message, 0)
	r.AddAttrs(attrs(fields)...)
	return c.handler.Handle(context.Background(), r)
}

// Sync does nothing: a slog.Handler keeps nothing back.
func (c *core) Sync() error { return nil }

func level(l zapcore.Level) slog.Level {
	switch {
	case l <= zapcore.DebugLevel:
		return slog.LevelDebug
	case l == zapcore.InfoLevel:
		return slog.LevelInfo
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	default:
		return slog.LevelError
	}
}

// attrs reads each field through zap's own encoder, which knows every kind of field.
func attrs(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	as := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		f.AddTo(enc)
		if v, ok := enc.Fields[f.Key]; ok {
			as = append(as, slog.Any(f.Key, v))
			delete(enc.Fields, f.Key)
		}
	}
	return as
}
