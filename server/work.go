package server

import (
	"github.com/usher-meet/usher/server/inbox"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/recordings"
	"github.com/usher-meet/usher/server/telephony/callers"
)

// eventHandlers lists the handlers of LiveKit's events.
func (s *services) eventHandlers() []inbox.Handler {
	dialIn := &inbox.DialIn{Telephony: s.telephony}
	return []inbox.Handler{
		{
			Name: "rooms", Handle: s.rooms.FollowMeeting,
			Types: []meeting.EventType{meeting.RoomStarted, meeting.RoomFinished, meeting.ParticipantJoined},
		},
		{
			Name: "dial-in", Handle: dialIn.Follow,
			Types: []meeting.EventType{
				meeting.RoomFinished, meeting.ParticipantJoined, meeting.ParticipantLeft, meeting.ParticipantAborted,
			},
		},
		{Name: "callers", Types: callers.Events, Handle: s.callers.Handle, Immediately: s.callers.Immediately},
		{Name: "recordings", Types: recordings.Events, Handle: s.recordings.Handle},
	}
}

// registerWork registers the handlers of jobs and the periodic work. Sweeps find what events of LiveKit's that were lost did
// not tell.
func (s *services) registerWork(b *base) {
	c, cleanUpAt := b.config, b.config.Keep.CleanUpAt
	s.inbox.Register(s.work)
	s.recordings.Register(s.work)
	jobs.Handle(s.work, s.invitations.Send)
	if contacts := newContacts(b, s.jobs); contacts != nil {
		jobs.Handle(s.work, contacts.Add)
	}
	s.work.Every("rooms.meetings", c.LiveKit.Sweep, s.rooms.SweepMeetings)
	s.work.Every("recordings.sweep", c.Recording.Sweep, s.recordings.Sweep)
	s.work.Every("invitations.sweep", c.Mail.Sweep, s.invitations.Sweep)
	s.work.Every("telephony.sweep", c.Telephony.Sweep, s.telephony.Sweep)
	s.work.Daily("rooms.clean_up", cleanUpAt, s.rooms.CleanUp)
	s.work.Daily("invitations.clean_up", cleanUpAt, s.invitations.CleanUp)
	s.work.Daily("telephony.clean_up", cleanUpAt, s.telephony.CleanUp)
}
