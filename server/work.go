package server

import (
	"github.com/usher-meet/usher/server/callers"
	"github.com/usher-meet/usher/server/events"
	"github.com/usher-meet/usher/server/live"
)

// registerWork says who does which jobs, what is done again and again, and who listens to LiveKit. What they do is in the
// services.
func (p *parts) registerWork() {
	p.inbox.Handlers = []events.Handler{
		// Nobody handles it: `usher doctor` looks whether it came.
		{Name: "doctor", Types: []live.EventType{live.RoomFinished}},
		{Name: "callers", Types: callers.Events, Handle: p.callers.Handle, Immediately: p.callers.Immediately},
	}
	p.inbox.Register(p.work)
	p.work.Daily("rooms.clean_up", p.config.Keep.CleanUpAt, p.rooms.CleanUp)
	p.work.Daily("telephony.clean_up", p.config.Keep.CleanUpAt, p.telephony.CleanUp)
	p.work.Every("telephony.sweep", p.config.Telephony.Sweep, p.telephony.Sweep)
}
