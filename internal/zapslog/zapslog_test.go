package zapslog

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestEntriesReachSlogWithTheirLevelAndFields(t *testing.T) {
	var out bytes.Buffer
	l := New(slog.New(slog.NewTextHandler(&out, nil)), zapcore.WarnLevel)
	l.With(zap.Int("n", 7)).Warn("slow", zap.Error(errors.New("cut")), zap.Strings("who", []string{"a", "b"}))
	got := out.String()
	for _, want := range []string{"level=WARN", "msg=slow", "n=7", "error=cut", "a b"} {
		if !strings.Contains(got, want) {
			t.Errorf("the log has no %q: %s", want, got)
		}
	}
}

func TestEntriesBelowEitherLevelAreDropped(t *testing.T) {
	var out bytes.Buffer
	New(slog.New(slog.NewTextHandler(&out, nil)), zapcore.WarnLevel).Info("chatter")
	New(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError})), zapcore.DebugLevel).Warn("chatter")
	New(nil, zapcore.DebugLevel).Error("nobody listens")
	if out.Len() > 0 {
		t.Errorf("logged %q, want nothing", out.String())
	}
}
