package server

import (
	"github.com/usher-meet/usher/server/callers"
	"github.com/usher-meet/usher/server/events"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/live"
	"github.com/usher-meet/usher/server/recordings"
)

// registerWork says who does which jobs, what is done again and again, and who listens to LiveKit. What they do is in the
// services.
func (p *parts) registerWork() {
	dialIn := &events.DialIn{LiveKit: p.livekit, Telephony: p.telephony}
	p.inbox.Handlers = []events.Handler{
		{
			Name: "rooms", Handle: p.rooms.FollowMeeting,
			Types: []live.EventType{live.RoomStarted, live.RoomFinished, live.ParticipantJoined},
		},
		{
			Name: "dial-in", Handle: dialIn.Follow,
			Types: []live.EventType{live.RoomFinished, live.ParticipantJoined, live.ParticipantLeft, live.ParticipantAborted},
		},
		{Name: "callers", Types: callers.Events, Handle: p.callers.Handle, Immediately: p.callers.Immediately},
		{Name: "recordings", Types: recordings.Events, Handle: p.recordings.Handle},
	}
	p.inbox.Register(p.work)
	p.recordings.Register(p.work, p.config.Recording.Sweep)
	p.work.Every("rooms.meetings", p.config.LiveKit.Sweep, p.rooms.SweepMeetings)
	p.work.Daily("rooms.clean_up", p.config.Keep.CleanUpAt, p.rooms.CleanUp)
	jobs.Handle(p.work, p.invitations.Send)
	if contacts := p.contacts(); contacts != nil {
		jobs.Handle(p.work, contacts.Add)
	}
	p.work.Every("invitations.sweep", p.config.Mail.Sweep, p.invitations.Sweep)
	p.work.Daily("invitations.clean_up", p.config.Keep.CleanUpAt, p.invitations.CleanUp)
	p.work.Daily("telephony.clean_up", p.config.Keep.CleanUpAt, p.telephony.CleanUp)
	p.work.Every("telephony.sweep", p.config.Telephony.Sweep, p.telephony.Sweep)
}
