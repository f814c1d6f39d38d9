package server

// registerSweeps registers the periodic work, which one server at a time does. LiveKit gives an event up after some retries,
// and a server may be gone before it acted on one. So each sweep asks LiveKit, the storage and the database for the present
// state and does what the lost events would have led to. The callers of a meeting do not wait for a sweep: callers.Service
// looks after them every second.
func (s *services) registerSweeps(b *base) {
	c, cleanUpAt := b.config, b.config.Keep.CleanUpAt
	s.work.Every("rooms.meetings", c.LiveKit.Sweep, s.rooms.SweepMeetings)
	s.work.Every("recordings.sweep", c.Recording.Sweep, s.recordings.Sweep)
	s.work.Every("invitations.sweep", c.Mail.Sweep, s.invitations.Sweep)
	s.work.Every("telephony.sweep", c.Telephony.Sweep, s.telephony.Sweep)
	s.work.Daily("rooms.clean_up", cleanUpAt, s.rooms.CleanUp)
	s.work.Daily("invitations.clean_up", cleanUpAt, s.invitations.CleanUp)
	s.work.Daily("telephony.clean_up", cleanUpAt, s.telephony.CleanUp)
}
