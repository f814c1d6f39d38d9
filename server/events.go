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

// registerJobs registers the handlers of jobs.
func (s *services) registerJobs(b *base) {
	s.inbox.Register(s.work)
	s.recordings.Register(s.work)
	jobs.Handle(s.work, s.invitations.Send)
	jobs.Handle(s.work, s.telephony.Rotate)
	if contacts := newContacts(b, s.jobs); contacts != nil {
		jobs.Handle(s.work, contacts.Add)
	}
}
