package ratelimit

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// hangsAfter is how many timeouts within hangsWithin mean that Redis hangs.
	hangsAfter  = 3
	hangsWithin = 10 * time.Second
	// probeEvery is how often Redis is asked at most whether it is back. It fails at once where nothing listens any more.
	probeEvery = 100 * time.Millisecond
)

// breaker remembers whether Redis hangs. The zero value is ready.
type breaker struct {
	mu       sync.Mutex
	timeouts []time.Time
	hangs    bool
	probing  bool
	probed   time.Time
}

// Hangs reports whether Redis was found to hang, and has not answered since: what only counts need not ask it.
func (l *Limiter) Hangs() bool {
	l.breaker.mu.Lock()
	defer l.breaker.mu.Unlock()
	return l.breaker.hangs
}

// Allow is [Limiter.Take] for limits that guard against excess, not against entry: without Redis calls pass. After the first
// timeouts they do so at once, while one call at a time finds out beside them whether Redis is back.
func (l *Limiter) Allow(ctx context.Context, calls ...Call) error {
	if l.Hangs() {
		if l.breaker.mayProbe() {
			go l.probe(context.WithoutCancel(ctx), slices.Clone(calls))
		}
		return nil
	}
	start := time.Now()
	err := l.Take(ctx, calls...)
	if took := time.Since(start); took >= timeout && Lenient(err) == nil && err != nil {
		l.breaker.timedOut(time.Now())
	}
	return Lenient(err)
}

// probe counts calls that have passed, and lets limits hold again if that works.
func (l *Limiter) probe(ctx context.Context, calls []Call) {
	err := l.Take(ctx, calls...)
	l.breaker.mu.Lock()
	defer l.breaker.mu.Unlock()
	l.breaker.probing = false
	if Lenient(err) != nil || err == nil {
		l.breaker.hangs, l.breaker.timeouts = false, nil
	}
}

func (b *breaker) mayProbe() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.probing || time.Since(b.probed) < probeEvery {
		return false
	}
	b.probing, b.probed = true, time.Now()
	return true
}

func (b *breaker) timedOut(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timeouts = append(slices.DeleteFunc(b.timeouts, func(t time.Time) bool { return now.Sub(t) > hangsWithin }), now)
	b.hangs = b.hangs || len(b.timeouts) >= hangsAfter
}
