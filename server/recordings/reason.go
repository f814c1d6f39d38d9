package recordings

import (
	"slices"
	"strings"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/meeting"
)

// failureTexts tell the reasons of failures apart by parts of the texts of LiveKit's egress, which sends no codes. A failure
// whose text has none of these parts is RECORDER_FAILED.
var failureTexts = []struct {
	reason usherv1.RecordingFailureReason
	texts  []string
}{
	{usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_STORAGE_FULL, []string{
		"no space left", "disk full", "quota exceeded", "quotaexceeded", "storagefull", "insufficientstorage", "statuscode: 507",
	}},
	{usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_STORAGE_REFUSED, []string{
		"accessdenied", "access denied", "invalidaccesskeyid", "signaturedoesnotmatch", "nosuchbucket", "statuscode: 401",
		"statuscode: 403", "statuscode: 404",
	}},
	{usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_INTERRUPTED, []string{
		"process killed", "signal: killed", "signal: interrupt", "sigint", "sigterm", "shutting down", "service terminated",
	}},
}

// failureReason is why a recorder that has ended left no recording.
func failureReason(r *ent.Recording, e *meeting.Egress) usherv1.RecordingFailureReason {
	if e.Status == meeting.EgressAborted {
		if r.StopTime != nil && r.StartTime == nil {
			return usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_STOPPED_BEFORE_START
		}
		return usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_ABORTED
	}
	said := strings.ToLower(e.Detail)
	for _, f := range failureTexts {
		if slices.ContainsFunc(f.texts, func(text string) bool { return strings.Contains(said, text) }) {
			return f.reason
		}
	}
	return usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_RECORDER_FAILED
}

// detailOf is what people are told of a recorder that has ended without a file in the storage.
func detailOf(e *meeting.Egress) string {
	if e.InBackup {
		return strings.TrimSpace("the recorder could not store the file, which is in its backup storage. " + e.Detail)
	}
	return e.Detail
}
