package jobs

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// repeatAfter is how long the same warning is not repeated in the log.
const repeatAfter = time.Minute

// dedupHandler lets warnings and errors through, and those that were just said only once: without a database the engine says
// so several times a second. What becomes of each job is logged by worker and not here.
type dedupHandler struct {
	slog.Handler
	recent *recentMessages
}

// recentMessages holds the messages of the last minute and how often each was suppressed since. Messages are constants of
// the engine and of this package, some dozens.
type recentMessages struct {
	mu     sync.Mutex
	byText map[string]*recentMessage
}

type recentMessage struct {
	at   time.Time
	left int
}

func newDedupHandler(h slog.Handler) dedupHandler {
	return dedupHandler{h, &recentMessages{byText: map[string]*recentMessage{}}}
}

// Enabled implements slog.Handler.
func (w dedupHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (w dedupHandler) Handle(ctx context.Context, r slog.Record) error {
	leftOut, ok := w.recent.allow(r)
	if !ok {
		return nil
	}
	if leftOut > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("left_out_before", leftOut))
	}
	return w.Handler.Handle(ctx, r)
}

// allow reports whether to log a message, and how many equal ones were left out since the last that was logged.
func (s *recentMessages) allow(r slog.Record) (leftOut int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.byText[r.Message]
	if last != nil && r.Time.Sub(last.at) < repeatAfter {
		last.left++
		return 0, false
	}
	if last != nil {
		leftOut = last.left
	}
	s.byText[r.Message] = &recentMessage{at: r.Time}
	return leftOut, true
}

// WithAttrs implements slog.Handler.
func (w dedupHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return dedupHandler{w.Handler.WithAttrs(attrs), w.recent}
}

// WithGroup implements slog.Handler.
func (w dedupHandler) WithGroup(name string) slog.Handler {
	return dedupHandler{w.Handler.WithGroup(name), w.recent}
}
