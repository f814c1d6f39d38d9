package server

import (
	"context"
	"time"
)

// runNightly removes what has been kept long enough, once a night, until ctx is done. Several replicas may do it at the same
// time: what one deleted the others do not find.
func (p *parts) runNightly(ctx context.Context) {
	for {
		timer := time.NewTimer(untilTimeOfDay(time.Now().UTC(), p.config.Keep.CleanUpAt))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if err := p.rooms.CleanUp(ctx); err != nil && ctx.Err() == nil {
			p.log.ErrorContext(ctx, "nightly clean-up failed; the next one is tomorrow", "err", err)
		}
	}
}

// untilTimeOfDay is the time from now until the next moment of the day that is at after midnight.
func untilTimeOfDay(now time.Time, at time.Duration) time.Duration {
	next := now.Truncate(24 * time.Hour).Add(at)
	if !next.After(now) {
		next = next.Add(24 * time.Hour)
	}
	return next.Sub(now)
}
