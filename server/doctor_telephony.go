package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/telephony"
)

// checkTelephony checks trunks and dispatch rules.
func (d *doctor) checkTelephony(ctx context.Context) {
	s := newSurvey(d.Config, d.db, d.livekit, slog.New(slog.DiscardHandler))
	s.Trunks.ReadOnly = true
	if !d.Config.Telephony.Enabled {
		d.good("trunks", "telephony is switched off by USHER_TELEPHONY_ENABLED")
		return
	}
	problems, err := s.Trunks.Check(ctx)
	trunks := s.Trunks.Known()
	switch {
	case err != nil:
		d.bad("trunks", "%v", err)
		return
	case len(trunks) == 0 && !s.Trunks.Orphans(): // nobody has set up telephony
		d.good("trunks", "%s", strings.Join(problems, "; "))
		return
	case len(problems) > 0:
		for _, problem := range problems {
			d.bad("trunks", "%s", problem)
		}
	default:
		d.good("trunks", "%d in use", len(trunks))
	}
	d.checkBridges(ctx)
	switch problems, err := s.Inspect(ctx); {
	case err != nil:
		d.bad("dispatch-rules", "%v", err)
	case len(problems) == 0:
		d.good("dispatch-rules", "none is stray, and none clash")
	default:
		for _, problem := range problems {
			d.bad("dispatch-rules", "%s", problem)
		}
	}
}

// checkBridges checks that calls reach LiveKit, and that wrong PINs are seen.
func (d *doctor) checkBridges(ctx context.Context) {
	switch runs, err := d.livekit.BridgeRuns(ctx); {
	case err != nil:
		d.good("bridge", "LiveKit does not tell whether a phone bridge runs: %v", err)
	case !runs:
		d.bad("bridge", "no phone bridge runs, so nobody can call: start livekit-sip with the Redis and the keys of LiveKit")
	default:
		d.good("bridge", "a phone bridge takes LiveKit's orders")
	}
	w := telephony.Watch{URLs: d.Config.Telephony.BridgeMetrics, HTTP: &http.Client{}}
	problems := w.Check(ctx)
	for _, problem := range problems {
		d.bad("bridge-metrics", "%v: wrong PINs at that bridge are not seen. Is it running, with prometheus_port, and does "+
			"USHER_TELEPHONY_BRIDGE_METRICS have an address that this server reaches?", problem)
	}
	switch {
	case len(w.URLs) == 0:
		d.good("bridge-metrics", "wrong PINs are not seen: USHER_TELEPHONY_BRIDGE_METRICS has no address of a phone bridge's metrics")
	case len(problems) == 0:
		d.good("bridge-metrics", "all of %d phone bridges tell of wrong PINs", len(w.URLs))
	}
}

// checkUnmute checks the one setting of LiveKit's that phone callers need. It shows only while somebody is in a meeting.
func (d *doctor) checkUnmute(ctx context.Context) {
	const name = "remote-unmute"
	rooms, err := d.livekit.LiveRooms(ctx)
	if err != nil {
		d.bad(name, "%v", err)
		return
	}
	for _, room := range rooms {
		people, err := d.livekit.Participants(ctx, room)
		if err != nil {
			d.bad(name, "%v", err)
			return
		}
		for _, p := range people {
			if p.Kind != usherv1.ParticipantKind_PARTICIPANT_KIND_WEB {
				continue
			}
			enabled, err := d.livekit.RemoteUnmute(ctx, room, p.Identity)
			switch {
			case errors.Is(err, meeting.ErrNotFound):
				continue
			case err != nil:
				d.bad(name, "%v", err)
			case !enabled:
				d.bad(name, "phone callers who wait cannot be let in: set room.enable_remote_unmute: true in LiveKit's settings")
			default:
				d.good(name, "phone callers who wait can be let in")
			}
			return
		}
	}
	d.good(
		name,
		"not seen, since nobody is in a meeting: phone callers need room.enable_remote_unmute: true in LiveKit's settings",
	)
}
