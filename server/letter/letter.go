// Package letter is the vocabulary in which services speak about mail: what a letter says, and how sending it can end.
// Services take these types in the small interfaces they declare, and server/adapter/mail, the only package that speaks
// SMTP, implements those.
package letter

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/mailbox"
)

// ErrOff means that this instance sends no mail: no server is named in its settings.
var ErrOff = errors.New("mail is switched off")

// ErrBusy means that as many letters are on their way to that domain as may be: try again in a moment.
var ErrBusy = errors.New("enough letters are on their way to that domain")

// ErrUnavailable means that the mail server did not take the letter, and may later: it was not reached, did not answer, or
// asked to come back. What was sent may have arrived all the same, when the connection broke at the very end.
var ErrUnavailable = errors.New("the mail server did not take the letter")

// RefusedError means that the mail server refused the letter for good. It holds no address: what servers say often does.
type RefusedError struct {
	// Code is the answer of SMTP, 500 to 599. 0: the address cannot be written in a mail.
	Code int
	// Enhanced is the code of RFC 3463, such as "5.1.1", if there was one.
	Enhanced string
}

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the mail server refused the letter (%d %s)", e.Code, e.Enhanced)
}

// Envelope is the common part of all letters.
type Envelope struct {
	// ID names one sending of one letter. The Message-ID is made of it, so that a letter that is sent again because nobody
	// knows whether it arrived is recognised.
	ID uuid.UUID
	To mailbox.Address
	// Language is a tag such as "fr" or "fr-CA". What is not there is replaced by the nearest, or by the instance's first.
	Language string
	// Timezone is the IANA name of the zone in which the reader sees times. Empty or unknown: UTC.
	Timezone string
	// Time is when the letter was decided.
	Time time.Time
	// Stop is the address of the page on which the reader ends mail like this; empty for none.
	Stop string
}

// InvitationKind is the occasion of a letter about an invitation.
type InvitationKind int

// The occasions.
const (
	// Invited is the first letter, or the same again.
	Invited InvitationKind = iota
	// Changed has another schedule or message.
	Changed
	// Cancelled says that the invitation was withdrawn.
	Cancelled
	// Unscheduled says that the meeting has no time any more. The invitation stays.
	Unscheduled
)

// Invitation is a letter about an invitation to a room.
type Invitation struct {
	Envelope

	Kind InvitationKind
	// Inviter is the display name of who invites.
	Inviter string
	// Room is the name of the room.
	Room string
	// Link is the personal address with which the reader joins and answers. Empty in a cancellation.
	Link string
	// Message is the inviter's text, plain. It may be empty.
	Message string
	// DialIn is nil for rooms without phone numbers.
	DialIn *usherv1.DialIn
	// Schedule is nil for a meeting without a time. Where the entry leaves the calendar it is what stands there.
	Schedule *Schedule
}

// Schedule is when a meeting is.
type Schedule struct {
	// UID names the calendar entry. It stays, and Sequence rises with every change.
	UID      string
	Sequence int
	// Start and End are those of the first occurrence.
	Start, End time.Time
	// Timezone is the IANA name of the zone in which the meeting repeats.
	Timezone string
	// Recurrence is the value of an RRULE; empty for a meeting that is once.
	Recurrence string
	// Except are the occurrences of that rule that do not take place.
	Except []time.Time
	// Next are the starts of the first occurrences, and More is how many follow.
	Next []time.Time
	More int
}

// RecordingReady is a letter that says that a recording can be watched, or that a transcript can be read.
type RecordingReady struct {
	Envelope

	// Room is the name of the room.
	Room string
	// Link is the address of the recording's page.
	Link string
	// Start is when the recording began.
	Start time.Time
	// Duration is how long it is; 0 for unknown.
	Duration time.Duration
	// Expire is when it is deleted; zero for never.
	Expire time.Time
	// Interrupted is true when the end of the recording may be missing.
	Interrupted bool
	// Transcript is true of the recording of which a transcript was made.
	Transcript bool
}
