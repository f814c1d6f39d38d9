package server

import (
	"github.com/usher-meet/usher/server/inbox"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/recordings"
	"github.com/usher-meet/usher/server/telephony/callers"
)

// registerWork says who does which jobs, what is done again and again, and who listens to LiveKit. What they do is in the
// services.
func (p *parts) registerWork() {
	dialIn := &inbox.DialIn{LiveKit: p.livekit, Telephony: p.telephony}
	p.inbox.Handlers = []inbox.Handler{
		{
			Name: "rooms", Handle: p.rooms.FollowMeeting,
			Types: []meeting.EventType{meeting.RoomStarted, meeting.RoomFinished, meeting.ParticipantJoined},
		},
		{
			Name: "dial-in", Handle: dialIn.Follow,
			Types: []meeting.EventType{meeting.RoomFinished, meeting.ParticipantJoined, meeting.ParticipantLeft, meeting.ParticipantAborted},
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
