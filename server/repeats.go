package server

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// refusals are the lines of the log that anybody can cause as often as they like, with the attributes that make their kinds.
// There are few values of each.
var refusals = map[string][]string{
	"rpc":                   {"procedure", "code", "caller"},
	"rpc refused":           {"procedure", "code", "caller"},
	"rpc failed":            {"procedure", "code"},
	"authentication failed": {"code"},
	"connection refused":    {"limit"},
	"file refused":          {"way", "why"},
	"sign-in refused":       {"silent"},
}

// ourFailures are codes that say more about this server than about the caller: each of those lines is logged. Calls that
// succeed are no refusals.
var ourFailures = []string{"ok", "internal", "unknown", "data_loss"}

// sayEvery is how often repeated lines are said.
const sayEvery = time.Minute

// repeats is a handler that passes on the first refusal of a kind, counts those that follow, and says each minute how many
// there were: a flood of calls is no flood of lines.
type repeats struct {
	slog.Handler
	counts *repeatCounts
}

func newRepeats(h slog.Handler) repeats {
	return repeats{Handler: h, counts: &repeatCounts{kinds: map[string]*repeated{}}}
}

// repeatCounts are the kinds that were seen in the last minute.
type repeatCounts struct {
	mu      sync.Mutex
	kinds   map[string]*repeated
	stopped bool
}

// repeated is a kind of line.
type repeated struct {
	times int
	timer *time.Timer
	// say writes the line that tells how many there were.
	say func(times int)
}

// Handle implements slog.Handler.
func (h repeats) Handle(ctx context.Context, record slog.Record) error {
	attrs, ok := kindOf(record)
	if ok && h.counts.repeats(record.Message+"\x00"+slog.GroupValue(attrs...).String(), func(times int) {
		line := slog.NewRecord(time.Now(), record.Level, record.Message, 0)
		line.AddAttrs(append(slices.Clone(attrs), slog.Int("repeated", times))...)
		_ = h.Handler.Handle(context.WithoutCancel(ctx), line) // the log cannot be told that it fails
	}) {
		return nil
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (h repeats) WithAttrs(attrs []slog.Attr) slog.Handler {
	return repeats{Handler: h.Handler.WithAttrs(attrs), counts: h.counts}
}

// WithGroup implements slog.Handler.
func (h repeats) WithGroup(name string) slog.Handler {
	return repeats{Handler: h.Handler.WithGroup(name), counts: h.counts}
}

// kindOf returns the attributes that make the kind of a refusal; ok is false for all other lines.
func kindOf(record slog.Record) (attrs []slog.Attr, ok bool) {
	keys, ok := refusals[record.Message]
	if !ok {
		return nil, false
	}
	record.Attrs(func(a slog.Attr) bool {
		if a.Key == "code" && slices.Contains(ourFailures, a.Value.String()) {
			ok = false
		}
		if slices.Contains(keys, a.Key) {
			attrs = append(attrs, a)
		}
		return ok
	})
	return attrs, ok
}

// repeats counts a line, and reports whether its kind was seen within the last minute. say is kept for a kind that was not.
func (c *repeatCounts) repeats(kind string, say func(times int)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if seen := c.kinds[kind]; seen != nil {
		seen.times++
		return true
	}
	if !c.stopped {
		c.kinds[kind] = &repeated{say: say, timer: time.AfterFunc(sayEvery, func() { c.tell(kind) })}
	}
	return false
}

// tell says how often a kind was repeated, and forgets one that was not.
func (c *repeatCounts) tell(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.kinds[kind]
	switch {
	case seen == nil: // stopped
	case seen.times == 0:
		delete(c.kinds, kind)
	default:
		seen.say(seen.times)
		seen.times = 0
		seen.timer.Reset(sayEvery)
	}
}

// stop says what is left to say. From then on each line is passed on.
func (c *repeatCounts) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	for _, seen := range c.kinds {
		seen.timer.Stop()
		if seen.times > 0 {
			seen.say(seen.times)
		}
	}
	clear(c.kinds)
}
