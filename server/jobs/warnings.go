package jobs

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// sayAgain is how long the same warning is not repeated in the log.
const sayAgain = time.Minute

// warnings lets warnings and errors through, and those that were just said only once: without a database the engine says so
// several times a second. What becomes of each job is logged by worker and not here.
type warnings struct {
	slog.Handler
	said *said
}

// said is what was said of late, and how often it was left out since. Messages are constants of
// the engine and of this package, some dozens.
type said struct {
	mu     sync.Mutex
	recent map[string]*saying
}

type saying struct {
	at   time.Time
	left int
}

func newWarnings(h slog.Handler) warnings {
	return warnings{h, &said{recent: map[string]*saying{}}}
}

// Enabled implements slog.Handler.
func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (w warnings) Handle(ctx context.Context, r slog.Record) error {
	left, again := w.said.again(r)
	if !again {
		return nil
	}
	if left > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("left_out_before", left))
	}
	return w.Handler.Handle(ctx, r)
}

// again reports whether a message is to be said, and how many like it were not since it was said last.
func (s *said) again(r slog.Record) (left int, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.recent[r.Message]
	if last != nil && r.Time.Sub(last.at) < sayAgain {
		last.left++
		return 0, false
	}
	if last != nil {
		left = last.left
	}
	s.recent[r.Message] = &saying{at: r.Time}
	return left, true
}

// WithAttrs implements slog.Handler.
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs), w.said}
}

// WithGroup implements slog.Handler.
func (w warnings) WithGroup(name string) slog.Handler {
	return warnings{w.Handler.WithGroup(name), w.said}
}
