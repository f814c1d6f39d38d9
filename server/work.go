package server

import (
	"time"

	"github.com/usher-meet/usher/server/events"
	"github.com/usher-meet/usher/server/live"
)

// sweepEvery is how often all meetings are looked at, for the events that got lost.
const sweepEvery = 30 * time.Second

// registerWork says who does which jobs, what is done again and again, and who listens to LiveKit. What they do is in the
// services.
func (p *parts) registerWork() {
	p.inbox.Handlers = []events.Handler{
		{
			Name: "rooms", Handle: p.rooms.FollowMeeting,
			Types: []live.EventType{live.RoomStarted, live.RoomFinished, live.ParticipantJoined},
		},
	}
	p.inbox.Register(p.work)
	p.work.Every("rooms.meetings", sweepEvery, p.rooms.SweepMeetings)
	p.work.Daily("rooms.clean_up", p.config.Keep.CleanUpAt, p.rooms.CleanUp)
}
