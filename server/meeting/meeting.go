// Package meeting is the vocabulary in which services speak about meetings that are going on: what a participant is and may
// do. Services take these types in the small interfaces they declare, and server/adapter/livekit, the only package that
// knows LiveKit, implements those.
package meeting

import (
	"errors"
	"time"

	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// ErrNotFound means that the room has no meeting, or the participant is not in it.
var ErrNotFound = errors.New("not in LiveKit")

// ErrUnavailable means that LiveKit did not answer, or answered that it cannot serve now.
var ErrUnavailable = errors.New("LiveKit is unavailable")

// ErrClash means that LiveKit refuses a dispatch rule: another one has the PIN on that trunk, or two others clash, which
// LiveKit then holds against all.
var ErrClash = errors.New("dispatch rules clash")

// ErrNoTelephony means that LiveKit has no Redis, without which it takes no calls.
var ErrNoTelephony = errors.New("LiveKit has no telephony")

// What LiveKit does with tokens (v1.11; pkg/service/roommanager.go, and protocol's auth/verifier.go).
const (
	// refreshLife is how long the tokens are good that LiveKit itself signs, for whoever connects and every 5 minutes
	// afterwards, whatever the life of ours.
	refreshLife = 10 * time.Minute
	// leeway is for how much longer LiveKit takes a token than it says.
	leeway = time.Minute
)

// Reach is how long after a decision somebody may come back on the strength of what was before it: with a LiveKit token of
// the given life, or with the one that LiveKit gave them when they connected. A minute of it is for calls that were being
// answered, and for clocks that differ.
//
// Who does come back gets another token from LiveKit, and the time begins again.
func Reach(tokenLife time.Duration) time.Duration {
	return max(tokenLife, refreshLife) + leeway + time.Minute
}

// Grant is the name and the permissions of a participant in one room: the content of a LiveKit token, and of the live
// permissions after a change.
//
// Whatever it says, a participant never gets roomAdmin, roomCreate, roomList, roomRecord, hidden, recorder, agent or
// canUpdateOwnMetadata.
type Grant struct {
	Room     uuid.UUID
	Identity string
	// DisplayName renames a live participant, unless it is empty.
	DisplayName string
	// Attributes are merged into those of a live participant.
	Attributes map[string]string
	// Sources are what may be published. Empty means nothing (to LiveKit it would mean everything, so canPublish is false
	// then).
	Sources []usherv1.TrackSource
	// NoSubscribe is true of somebody who may not see and hear others.
	NoSubscribe bool
}

// AttributeInvited is the participant attribute that is "true" of those whom a personal invitation let in.
const AttributeInvited = "invited"

// Meeting is a room as LiveKit knows it now.
type Meeting struct {
	Room uuid.UUID
	// SID tells two sessions of one room apart.
	SID              string
	StartTime        time.Time
	ParticipantCount int
	Metadata         string
}

// Participant is somebody in a meeting now.
type Participant struct {
	Identity    string
	SID         string
	DisplayName string
	Attributes  map[string]string
	// Sources are what may be published; empty for nothing.
	Sources []usherv1.TrackSource
	// NoSubscribe is true of somebody who may not see and hear others.
	NoSubscribe bool
	JoinTime    time.Time
	Kind        usherv1.ParticipantKind
	Tracks      []Track
}

// Track is something that a participant publishes.
type Track struct {
	SID string
	// Source is unspecified for what the contract does not know.
	Source usherv1.TrackSource
	Muted  bool
}

// Admission is somebody whom a host, or a change of the room, let into a meeting.
type Admission struct {
	// Identity and DisplayName are those that were admitted, whatever the guest says now.
	Identity, DisplayName string
	// UserID is uuid.Nil for people without an account.
	UserID uuid.UUID
	// Time is when they were let in.
	Time time.Time
	// Invitation is the one whose link lets them in without waiting; uuid.Nil for those whom somebody let in.
	Invitation uuid.UUID
	// Replaced is the identity under which the link let another account in, or somebody without one; empty for nobody.
	Replaced string
}

// ErrRefused means that LiveKit understood what it was asked and will not do it: nothing was begun.
var ErrRefused = errors.New("LiveKit refused")

// EgressStatus says how far LiveKit's egress has come.
type EgressStatus int

// What an egress can be.
const (
	// EgressStarting has no recorder that records yet.
	EgressStarting EgressStatus = iota
	EgressActive
	// EgressEnding stores its file. LiveKit does not always tell.
	EgressEnding
	// EgressComplete and EgressLimitReached have stored their file.
	EgressComplete
	EgressLimitReached
	// EgressAborted never recorded anything, and EgressFailed may have left a file, whole or in part.
	EgressAborted
	EgressFailed
)

// Ended reports whether nothing follows.
func (s EgressStatus) Ended() bool { return s >= EgressComplete }

// Egress is a recorder of LiveKit's, or what became of it.
type Egress struct {
	// ID is LiveKit's, and the identity of the recorder in the meeting.
	ID string
	// RoomID is uuid.Nil for a room that is not ours.
	RoomID uuid.UUID
	// Path of the file that it makes, as it was asked for.
	Path   string
	Status EgressStatus
	// StartTime, EndTime and UpdateTime are zero while they are not known.
	StartTime, EndTime, UpdateTime time.Time
	// Duration of what was recorded; 0 while that is not known.
	Duration time.Duration
	// Detail is LiveKit's text about the end of the egress.
	Detail string
	// InBackup is true when the file is in the backup storage of the egress, since it could not store it where it should.
	InBackup bool
}

// RecorderSigns are the signs of life of a recorder.
type RecorderSigns struct {
	// Listed is true when LiveKit lists the recorder in the meeting.
	Listed bool
	// Answers is true when its service answers.
	Answers bool
	// Others is true when anybody else is in the meeting.
	Others bool
}

// EgressRequest asks for a recorder.
type EgressRequest struct {
	Room uuid.UUID
	// Key is where the file goes in the storage.
	Key string
	// AudioOnly records sound to an OGG file, instead of everything to an MP4 file.
	AudioOnly bool
}
