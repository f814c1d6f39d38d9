package server

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"time"

	"github.com/usher-meet/usher/server/adapter/livekit"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/lease"
	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/telephony"
	"github.com/usher-meet/usher/server/telephony/callers"
)

// ruleLease is how long a server that died keeps others from changing how a room is dialled: longer than the few calls to
// LiveKit take that this needs, each of which is given up after 5 s.
const ruleLease = 30 * time.Second

func (s *services) fillTelephony(b *base) {
	c := b.config
	*s.telephony = telephony.Service{
		Survey: newSurvey(c, b.db, b.livekit, b.log), Keys: b.keys, Limiter: b.limiter, RotateLimit: c.Limits.RotatePIN,
		Invitations: s.invitations, Log: b.log,
		Metrics: telephony.NewMetrics(b.metrics), Random: rand.Reader,
		PINLength: c.Telephony.PINLength, Rest: c.Telephony.PINRest, Lease: ruleLease,
	}
}

// newSurvey compares LiveKit's dispatch rules with the database, for the service and for `usher doctor`.
func newSurvey(c settings.Config, db *dbtx.DB, lk *livekit.Client, log *slog.Logger) telephony.Survey {
	return telephony.Survey{DB: db, LiveKit: lk, Trunks: &telephony.Trunks{
		LiveKit: lk, Enabled: c.Telephony.Enabled, Configured: c.Telephony.Trunks, National: c.Telephony.NationalNumbers,
		DB: db, Log: log,
	}}
}

// callersTiming is how callers are held. Half a second more is heard (docs/telephony.md); one look a second at each room
// that can be dialled is what they may cost.
var callersTiming = callers.Timing{Hold: time.Second, Sweep: time.Second, Search: 10 * time.Second}

func (s *services) fillCallers(b *base) {
	timing := callersTiming
	timing.Grace = b.config.Callers.Grace
	*s.callers = callers.Service{
		DB: b.db, Keys: b.keys, Meetings: b.livekit, LiveKit: b.livekit, Lobby: s.lobby, Timing: timing,
		Leases: lease.Redis{Client: b.redis}, Metrics: callers.NewMetrics(b.metrics), Log: b.log,
	}
}

// watchPeriod is how often phone bridges are asked for wrong PINs: several times in the minute over which they count.
const watchPeriod = 15 * time.Second

func newWrongPINWatch(b *base) *telephony.Watch {
	c := b.config.Telephony
	return &telephony.Watch{
		URLs: c.BridgeMetrics, Period: watchPeriod, Alert: c.WrongPINAlert, HTTP: &http.Client{}, Log: b.log,
		Metrics: telephony.NewWatchMetrics(b.metrics),
	}
}
