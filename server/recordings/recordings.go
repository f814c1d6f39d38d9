// Package recordings owns what is recorded of meetings: which recording goes on where, what became of it, and who may have
// it.
//
// LiveKit's egress makes the file and puts it into the storage; three signals tell about it: LiveKit's events, the storage's
// events, and a sweep. None is believed. Each only has [Service.Settle] look at one recording: it asks LiveKit what the
// egress is doing and the storage whether the file is there, and makes the transition that follows (settle.go, by the table
// in transitions.go). So signals may come in any order, repeatedly or never, and a crash between any two steps costs nothing
// but time. A recording is SAVED only when the storage has its file.
//
// The database allows one recording at a time in a room. What the file is needed for afterwards is a job: telling people,
// and deleting it. This package does not record, transcribe or send mail itself.
package recordings

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/ratelimit"
)

// What can be refused about a recording.
var (
	ErrNotFound = fault.New(connect.CodeNotFound, usherv1.ErrorReason_ERROR_REASON_RECORDING_NOT_FOUND,
		"there is no such recording, or you have no access to it")
	ErrInProgress = fault.New(connect.CodeAlreadyExists, usherv1.ErrorReason_ERROR_REASON_RECORDING_IN_PROGRESS,
		"the room is being recorded already: stop that recording first")
	ErrDisabled = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_RECORDING_DISABLED,
		"this instance does not record that")
	ErrNotActive = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_RECORDING_NOT_ACTIVE,
		"the room is not being recorded")
	ErrNotFinal = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_RECORDING_NOT_FINAL,
		"the recording is not over: stop it, and wait for its file")
	ErrNotSaved = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_RECORDING_NOT_SAVED,
		"there is no file: the recording is not saved yet, or failed")
	ErrExpired = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_RECORDING_EXPIRED,
		"the recording was kept as long as this instance keeps recordings")
	ErrStorage = fault.New(connect.CodeUnavailable, usherv1.ErrorReason_ERROR_REASON_STORAGE_UNAVAILABLE,
		"the storage of recordings does not answer: repeat the call")
	ErrNotLive = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_ROOM_NOT_LIVE,
		"no meeting goes on in the room: join it first")
	ErrLastOwner = fault.New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_LAST_OWNER,
		"a recording must keep an owner with an account: make somebody else owner first, or delete it")
	ErrUserNotFound = fault.New(connect.CodeNotFound, usherv1.ErrorReason_ERROR_REASON_USER_NOT_FOUND,
		"there is no such user: give them access by their e-mail address")
)

// Service serves usher.v1.RecordingsService, and what belongs to it beside the API. Every field is required unless it says
// otherwise.
type Service struct {
	Records
	Keys    *auth.Keys
	Limiter *ratelimit.Limiter
	// StartLimit is by room.
	StartLimit ratelimit.Limit
	LiveKit    liveKit
	// Files is nil where nothing is recorded.
	Files Files
	// Notifier tells people by mail; nil where no mail is sent.
	Notifier notifier
	// Summary tells the summary service of transcripts; nil where there is none.
	Summary summary
	// Bucket is the name that storage events must carry; empty for a folder.
	Bucket string
	Rules  Rules
	// IdempotencyLife is how long the answer to a request_id is kept.
	IdempotencyLife time.Duration
	Timing          Timing
}

// Records changes recordings in the database. The server does what follows from it, so the commands for operators need no
// more than this. Every field is required.
type Records struct {
	DB    *dbtx.DB
	Tasks liveTasks
	Jobs  enqueuer
	// Life is how long a file is kept; 0 for ever.
	Life time.Duration
	Log  *slog.Logger
}

// Rules are the operator's settings of recordings.
type Rules struct {
	// Modes that may be recorded.
	Modes []usherv1.RecordingMode
	// Folder in the storage: one name, of letters, digits, '.', '_' and '-'.
	Folder string
	// DeleteExpired has this server delete files that have expired.
	DeleteExpired bool
	// MaxLength of a recording; 0 for no limit.
	MaxLength time.Duration
	// TranscriptDownload lets owners and administrators download the sound of transcripts.
	TranscriptDownload bool
}

// Timing is how patient the rules are.
type Timing struct {
	// StartWithin is how long a recorder may take to begin.
	StartWithin time.Duration
	// LostAfter is how long a recorder may show no sign of life, or a file not be where it should.
	LostAfter time.Duration
	// GiveUpStop is how long a recorder that does not answer is asked to stop.
	GiveUpStop time.Duration
	// UploadWithin is how long a file may take to get into the storage.
	UploadWithin time.Duration
	// PurgeFor is how long a file is deleted again and again whose recorder may still be somewhere.
	PurgeFor time.Duration
}

// StandardTiming is that of production.
var StandardTiming = Timing{
	StartWithin: time.Minute, LostAfter: time.Minute, GiveUpStop: time.Minute, UploadWithin: time.Hour,
	PurgeFor: 10 * time.Minute,
}

// liveKit lists the calls to LiveKit that this package makes; server/adapter/livekit implements them and documents their
// errors.
type liveKit interface {
	recorders
	egresses
	calls
}

// recorders starts and stops recorders.
type recorders interface {
	StartEgress(ctx context.Context, r meeting.EgressRequest) (*meeting.Egress, error)
	StopEgress(ctx context.Context, id string) (*meeting.Egress, error)
	RecorderSigns(ctx context.Context, room uuid.UUID, id string) (meeting.RecorderSigns, error)
	// RemoveParticipant has a dead recorder leave the meeting.
	RemoveParticipant(ctx context.Context, room uuid.UUID, identity string) error
}

// egresses tells what recorders are doing.
type egresses interface {
	Egress(ctx context.Context, id string) (*meeting.Egress, error)
	RoomEgresses(ctx context.Context, room uuid.UUID) ([]meeting.Egress, error)
	RunningEgresses(ctx context.Context) ([]meeting.Egress, error)
}

// calls is about the meetings themselves.
type calls interface {
	// Meeting fails with meeting.ErrNotFound when there is none.
	Meeting(ctx context.Context, room uuid.UUID) (*meeting.Meeting, error)
	Participants(ctx context.Context, room uuid.UUID) ([]meeting.Participant, error)
	SendData(ctx context.Context, room uuid.UUID, identities []string, topic string, message []byte) error
}

// Files is where the files are. server/adapter/objectstore implements it. What is not there is an fs.ErrNotExist.
type Files interface {
	storage
	downloads
}

type storage interface {
	Size(ctx context.Context, key string) (int64, error)
	Delete(ctx context.Context, key string) error
}

type downloads interface {
	Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error)
	// Presign makes an address at which a file can be fetched for some time, and Verify says whether one below /media/ is
	// such an address.
	Presign(ctx context.Context, key, name string, life time.Duration) (string, error)
	Verify(key string, query url.Values) bool
	// Sign returns the headers with which a proxy may GET a file.
	Sign(key string) (http.Header, error)
}

// liveTasks has the recording status that a meeting shows brought up to date. server/livetasks implements it.
type liveTasks interface {
	SyncRoom(ctx context.Context, tx *ent.Client, room uuid.UUID) error
	// Wake is to be called after the commit.
	Wake()
}

// enqueuer writes jobs. server/jobs implements it.
type enqueuer interface {
	Enqueue(ctx context.Context, tx *ent.Client, args jobs.Args, options ...jobs.Option) error
}

// now is the present moment as the database keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
