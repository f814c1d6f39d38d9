// Package fault is the error vocabulary of the server.
//
// The other packages declare what can go wrong as fault values. [Connect] and [Interceptor] turn them, at the edge, into
// Connect errors that carry a google.rpc.ErrorInfo, and every other error into an opaque INTERNAL, because Connect would
// otherwise send its text to the client.
package fault

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"connectrpc.com/connect"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// Error is an error that is safe to show to the caller: Code, Reason, Message, Meta and RetryAfter go over the wire. What
// it wraps does not.
type Error struct {
	Code       connect.Code
	Reason     usherv1.ErrorReason
	Message    string            // what went wrong and what to do next, without personal data
	Meta       map[string]string // as documented at the reason in errors.proto
	RetryAfter time.Duration     // when the same call may work; 0 for never by itself

	field string // the request field to blame, if one is
	cause error
}

// New declares a fault. Call it once for each reason, in a package-level var.
func New(code connect.Code, reason usherv1.ErrorReason, message string) *Error {
	e := &Error{Code: code, Reason: reason, Message: message}
	if code == connect.CodeUnavailable {
		e.RetryAfter = time.Second
	}
	declared = append(declared, e)
	return e
}

// declared are all faults of the program, for the test that holds them against errors.proto.
var declared []*Error

// Declared are the faults that the linked packages declare.
func Declared() []*Error { return declared }

// Error implements error. It is for logs: unlike Message, it includes the cause.
func (e *Error) Error() string {
	if e.cause == nil {
		return e.Message
	}
	return fmt.Sprintf("%s: %v", e.Message, e.cause)
}

// Unwrap returns the internal cause, if any.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target has the same reason, so that errors.Is works on a declared fault after it was copied.
func (e *Error) Is(target error) bool {
	t, ok := errors.AsType[*Error](target)
	return ok && t.Reason == e.Reason
}

// With returns a copy of e with one more metadata entry.
func (e *Error) With(key, value string) *Error {
	c := *e
	c.Meta = maps.Clone(e.Meta)
	if c.Meta == nil {
		c.Meta = make(map[string]string, 1)
	}
	c.Meta[key] = value
	return &c
}

// Saying returns a copy of e with a message that fits the case better. It must hold no personal data and nothing that the
// client sent, unless quoted and bounded.
func (e *Error) Saying(format string, args ...any) *Error {
	c := *e
	c.Message = fmt.Sprintf(format, args...)
	return &c
}

// After returns a copy of e that tells when the same call may work.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// Because returns a copy of e that wraps cause, for the log.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// Name is the reason as clients read it: without the prefix of the enum.
func (e *Error) Name() string {
	return strings.TrimPrefix(e.Reason.String(), "ERROR_REASON_")
}

// What any package may run into.
var (
	// ErrInvalid is a request of the wrong shape. Use [Invalid] to name the field.
	ErrInvalid = New(
		connect.CodeInvalidArgument, usherv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "the request is malformed",
	)
	// ErrTooLarge is a request over the limit of 1 MiB.
	ErrTooLarge = New(
		connect.CodeResourceExhausted, usherv1.ErrorReason_ERROR_REASON_REQUEST_TOO_LARGE, "the request is larger than 1 MiB",
	)
	// ErrDeadline is a call that took longer than the client or the server gives it.
	ErrDeadline = New(connect.CodeDeadlineExceeded, usherv1.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED,
		"the server took too long: repeat the call")
	// ErrConflict is a change that lost against another one.
	ErrConflict = New(connect.CodeAborted, usherv1.ErrorReason_ERROR_REASON_CONFLICT,
		"somebody else changed this in between: read it again and repeat the call")
	// ErrDatabase is a database that does not answer.
	ErrDatabase = New(connect.CodeUnavailable, usherv1.ErrorReason_ERROR_REASON_DATABASE_UNAVAILABLE,
		"the database does not answer: repeat the call")
	// ErrRedis is a Redis that does not answer.
	ErrRedis = New(
		connect.CodeUnavailable, usherv1.ErrorReason_ERROR_REASON_REDIS_UNAVAILABLE, "Redis does not answer: repeat the call",
	)
	// ErrLiveKit is a LiveKit that does not answer.
	ErrLiveKit = New(
		connect.CodeUnavailable, usherv1.ErrorReason_ERROR_REASON_LIVEKIT_UNAVAILABLE,
		"LiveKit does not answer: repeat the call",
	)
	// ErrNotLive is a room in which no meeting goes on.
	ErrNotLive = New(
		connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_ROOM_NOT_LIVE, "no meeting goes on in this room",
	)
)
