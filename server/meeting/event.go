package meeting

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/server/text"
)

// EventType is the type of a LiveKit event. The values are LiveKit's.
type EventType string

// What LiveKit tells about, as far as somebody here listens.
const (
	RoomStarted       EventType = "room_started"
	RoomFinished      EventType = "room_finished"
	ParticipantJoined EventType = "participant_joined"
	ParticipantLeft   EventType = "participant_left"
	// ParticipantAborted is somebody who never connected, or was gone without a word.
	ParticipantAborted EventType = "participant_connection_aborted"
	TrackPublished     EventType = "track_published"
	EgressStarted      EventType = "egress_started"
	EgressUpdated      EventType = "egress_updated"
	EgressEnded        EventType = "egress_ended"
)

// Event is a LiveKit webhook event. It is a hint: it may come late, twice, in any order, or not at all, so whoever handles
// it asks for the present state.
type Event struct {
	// ID is LiveKit's. A repeated event has the same.
	ID   string    `json:"id"`
	Type EventType `json:"type"`
	// Time is when it happened, in whole seconds: it orders nothing.
	Time time.Time `json:"time"`
	// RoomID is never uuid.Nil: events of rooms that are not ours are dropped.
	RoomID uuid.UUID `json:"room_id"`
	// RoomSID is LiveKit's id of the session of the room. Empty in events about egress.
	RoomSID string `json:"room_sid,omitempty"`
	// RoomStart is when that session began, as far as LiveKit says so; else zero.
	RoomStart time.Time `json:"room_start,omitzero"`
	// Participant is whom it is about; nil in events about rooms and egress. Of who published a track LiveKit tells identity
	// and sid only, and kind WEB whoever it is.
	Participant *Participant `json:"participant,omitempty"`
	// Track is the published track; nil in other events.
	Track *Track `json:"track,omitempty"`
	// Egress is how it was then; nil in other events.
	Egress *Egress `json:"egress,omitempty"`
}

// storedAttributes are those that may be kept: none of them holds a number or a name.
var storedAttributes = []string{AttributeLobby, attributeCall}

// Stored is the event as it may be kept for some days: without names, and without what LiveKit knows about phone numbers.
func (e Event) Stored() Event {
	if e.Participant == nil {
		return e
	}
	p := *e.Participant
	p.DisplayName, p.Attributes = "", nil
	for _, name := range storedAttributes {
		if value := e.Participant.Attributes[name]; value != "" {
			if p.Attributes == nil {
				p.Attributes = map[string]string{}
			}
			p.Attributes[name] = text.MakeStorable(value)
		}
	}
	e.Participant = &p
	return e
}

// Storable reports whether the databases can keep everything in the event that names something. What cannot be kept must not
// be handled either: without one of its characters it could name somebody else.
func (e Event) Storable() bool {
	names := []string{e.ID, e.RoomSID}
	if p := e.Participant; p != nil {
		names = append(names, p.Identity, p.SID, p.Attributes[attributeCall])
	}
	if e.Track != nil {
		names = append(names, e.Track.SID)
	}
	if e.Egress != nil {
		names = append(names, e.Egress.ID, e.Egress.Path)
	}
	return !slices.ContainsFunc(names, func(name string) bool { return !text.Storable(name) })
}
