package callers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/server/meeting"
)

// waits are those before each attempt to hold a caller, or to let one in.
var waits = []time.Duration{0, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond}

// isHeld reports whether somebody hears nothing, and is not heard.
func isHeld(p meeting.Participant) bool {
	for _, track := range p.Tracks {
		if !track.Muted {
			return false
		}
	}
	return p.NoSubscribe && p.Attributes[meeting.AttributeLobby] == meeting.LobbyWaiting
}

// hold has a caller hear nothing and be heard by nobody, and returns them as they are then. Should that not be so in time,
// they are removed, which is meeting.ErrNotFound too.
func (s *Service) hold(ctx context.Context, room uuid.UUID, p meeting.Participant) (meeting.Participant, error) {
	held, err := s.tryHold(ctx, room, p.Identity)
	if err == nil || errors.Is(err, meeting.ErrNotFound) {
		return held, err
	}
	if ctx.Err() != nil {
		return p, err
	}
	// A host may have let them in while this tried.
	standing, unknown := s.standing(ctx, room, p.Call())
	if unknown == nil && (standing == meeting.CallAdmitted || standing == meeting.CallLifted) {
		return p, s.lift(ctx, room, p.Call())
	}
	s.Metrics.removed.Inc()
	s.Log.WarnContext(ctx, "a caller is removed because they cannot be held", "room", room, "err", err)
	if err := s.LiveKit.RemoveParticipant(ctx, room, p.Identity); err != nil {
		return p, fmt.Errorf("remove a caller who cannot be held: %w", err)
	}
	return p, meeting.ErrNotFound
}

// tryHold tries to hold a caller as long as that may take.
func (s *Service) tryHold(ctx context.Context, room uuid.UUID, identity string) (held meeting.Participant, err error) {
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, s.Timing.Hold)
	defer cancel()
	for _, wait := range waits {
		if !sleep(bounded, wait) {
			break
		}
		if held, err = s.holdOnce(bounded, room, identity); err == nil {
			s.Metrics.holds.Observe(time.Since(began).Seconds())
			return held, nil
		}
		if errors.Is(err, meeting.ErrNotFound) {
			break
		}
	}
	return held, err
}

// holdOnce tells LiveKit everything that a hold is.
func (s *Service) holdOnce(ctx context.Context, room uuid.UUID, identity string) (meeting.Participant, error) {
	p, err := s.LiveKit.HoldCaller(ctx, room, identity)
	if err != nil {
		return p, err
	}
	// Before the tracks: one that is published from now on is muted when LiveKit tells of it.
	s.cache.addHeld(room, p.SID)
	for i := range p.Tracks {
		if p.Tracks[i].Muted {
			continue
		}
		if err := s.LiveKit.MuteTrack(ctx, room, identity, p.Tracks[i].SID); err != nil {
			return p, err
		}
		p.Tracks[i].Muted = true
	}
	return p, nil
}

// sleep waits, and reports whether ctx lasted that long.
func sleep(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
