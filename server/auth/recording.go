package auth

import (
	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/predicate"
	"github.com/usher-meet/usher/gen/ent/recordingaccess"
)

// MyRecordings matches the accesses of a user to recordings: those of the account, and pending ones of its verified address.
func MyRecordings(u *ent.User) predicate.RecordingAccess {
	if !u.EmailVerified || u.Email == "" {
		return recordingaccess.UserID(u.ID)
	}
	return recordingaccess.Or(recordingaccess.UserID(u.ID), recordingaccess.Email(u.Email))
}
