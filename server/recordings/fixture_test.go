package recordings

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/ratelimit"
)

const (
	screen      = usherv1.RecordingMode_RECORDING_MODE_SCREEN_RECORDING
	transcript  = usherv1.RecordingMode_RECORDING_MODE_TRANSCRIPT
	plainMember = usherv1.Role_ROLE_MEMBER
)

// fixture is a service on a database. The test decides what everything beside the database does.
type fixture struct {
	*Service
	t       *testing.T
	outside *outside
	jobs    *jobs.Client
}

// hurried has no patience: what may be waited for is over at the second look.
var hurried = Timing{UploadWithin: time.Hour, GiveUpStop: time.Hour}

func newFixture(t *testing.T, db *dbtx.DB) *fixture {
	t.Helper()
	client, err := jobs.New(db, nil, jobs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &outside{egresses: map[string]*egress{}, live: map[uuid.UUID]bool{}, files: map[string]int64{}, told: map[uuid.UUID]int{}}
	return &fixture{t: t, outside: w, jobs: client, Service: &Service{
		Records: Records{DB: db, Tasks: w, Jobs: steppedJobs{w, client}, Log: slog.New(slog.DiscardHandler)},
		Keys:    auth.NewKeys([]byte("test-secret-of-32-characters-or-more"), nil), Limiter: &ratelimit.Limiter{},
		LiveKit: w, Files: (*storageOf)(w), Notifier: w, Summary: w,
		Bucket: "bucket", IdempotencyLife: time.Hour, Timing: hurried,
		Rules: Rules{Modes: []usherv1.RecordingMode{screen, transcript}, Folder: "recordings", TranscriptDownload: true},
	}}
}

// user stores a user with a verified address.
func (f *fixture) user(name string) *ent.User {
	f.t.Helper()
	return run(f, func(tx *ent.Client) (*ent.User, error) {
		return tx.User.Create().SetSub("test-" + uuid.NewString()).SetFullName(name).
			SetEmail(mailbox.Address(strings.ToLower(name) + "@example.org")).SetEmailVerified(true).Save(f.t.Context())
	})
}

// room makes a room with a meeting, in which people have roles: accounts, or addresses that wait.
func (f *fixture) room(members map[any]usherv1.Role) *ent.Room {
	f.t.Helper()
	r := run(f, func(tx *ent.Client) (*ent.Room, error) {
		r, err := tx.Room.Create().SetName("Weekly").SetNameKey("weekly").SetSlug("weekly-" + uuid.NewString()[:8] + "x").
			SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC).Save(f.t.Context())
		if err != nil {
			return nil, err
		}
		for who, role := range members {
			create := tx.Member.Create().SetRoomID(r.ID).SetRole(role)
			if u, ok := who.(*ent.User); ok {
				create.SetUserID(u.ID)
			} else {
				create.SetEmail(mailbox.Address(fmt.Sprint(who)))
			}
			if err := create.Exec(f.t.Context()); err != nil {
				return nil, err
			}
		}
		return r, nil
	})
	f.outside.mu.Lock()
	f.outside.live[r.ID] = true
	f.outside.mu.Unlock()
	return r
}

// run runs fn in a transaction.
func run[T any](f *fixture, fn func(tx *ent.Client) (T, error)) (out T) {
	f.t.Helper()
	err := f.DB.Run(f.t.Context(), func(tx *ent.Client) (err error) {
		out, err = fn(tx)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// as is a context in which u calls.
func (f *fixture) as(u *ent.User) context.Context {
	return auth.WithCaller(f.t.Context(), &auth.Caller{Kind: auth.User, User: u, AllScopes: true})
}

// start records a room.
func (f *fixture) start(u *ent.User, r *ent.Room, mode usherv1.RecordingMode) *usherv1.Recording {
	f.t.Helper()
	res, err := f.StartRecording(f.as(u), &usherv1.StartRecordingRequest{Room: r.ID.String(), Mode: mode})
	if err != nil {
		f.t.Fatal(err)
	}
	return res.GetRecording()
}

// row is a recording as it is stored; nil when it was deleted.
func (f *fixture) row(id string) *ent.Recording {
	f.t.Helper()
	r, err := f.DB.Read.Recording.Get(f.t.Context(), uuid.MustParse(id))
	if ent.IsNotFound(err) {
		return nil
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (f *fixture) wantStatus(id string, want usherv1.RecordingStatus) *ent.Recording {
	f.t.Helper()
	r := f.row(id)
	if r == nil || r.Status != want {
		f.t.Fatalf("recording is %v, want %s", r, statusName(want))
	}
	return r
}

// sweep looks at everything, a few times: the first look may only note that something is missing.
func (f *fixture) sweep() {
	f.t.Helper()
	for range 4 {
		if err := f.Sweep(f.t.Context()); err != nil {
			f.t.Fatal(err)
		}
	}
}

// work does the jobs that wait, and returns how many failed.
func (f *fixture) work() (failures int) {
	f.t.Helper()
	list, err := f.jobs.List(f.t.Context(), jobs.Filter{States: []string{"waiting"}, Limit: 100})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, j := range list {
		if err := f.do(f.t.Context(), j); err != nil {
			failures++
			continue
		}
		if err := f.jobs.Delete(f.t.Context(), j.ID); err != nil {
			f.t.Fatal(err)
		}
	}
	return failures
}

// do does one job.
func (f *fixture) do(ctx context.Context, j jobs.Job) error {
	switch j.Kind {
	case SettleJob{}.Kind():
		return decode(j.Args, func(a SettleJob) error { return f.Settle(ctx, a.RecordingID, nil) })
	case RoomJob{}.Kind():
		return decode(j.Args, func(a RoomJob) error { return f.settleRoom(ctx, a) })
	case NotifyJob{}.Kind():
		return decode(j.Args, func(a NotifyJob) error { return f.notify(ctx, a) })
	}
	return errors.New("a job of an unknown kind: " + j.Kind)
}

func decode[T any](args json.RawMessage, fn func(T) error) error {
	var a T
	if err := json.Unmarshal(args, &a); err != nil {
		return err
	}
	return fn(a)
}

// egress is one recorder of LiveKit's.
type egress struct {
	meeting.Egress
	// forgotten is one that LiveKit does not know any more, and dead one that shows no sign of life. left is one that is not
	// in the meeting any more. lingers is one whose service is dead, and that LiveKit lists in the meeting all the same.
	forgotten, dead, left, lingers bool
}

// outside is LiveKit with its recorders, the storage, and those who are told: everything beside the database.
type outside struct {
	mu       sync.Mutex
	egresses map[string]*egress
	live     map[uuid.UUID]bool
	files    map[string]int64
	// told counts notifications by id.
	told map[uuid.UUID]int
	// messages counts those to meetings.
	messages int

	// startError is what StartEgress fails with. With startAnyway the recorder starts all the same.
	startError  error
	startAnyway bool
	// down is what calls to LiveKit fail with, and storageDown what calls to the storage fail with.
	down, storageDown error
	notifyError       error
	// refuses is somebody whose mailbox refuses.
	refuses uuid.UUID
	// empty is true when nobody but recorders is in the meetings.
	empty bool
	// step is called before and after everything that the service does outside the database, and inside transactions.
	step func()
}

func (w *outside) stepped() {
	if w.step != nil {
		w.step()
	}
}

// change changes a recorder.
func (w *outside) change(id string, fn func(*egress)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn(w.egresses[id])
}

// StartEgress implements liveKit, as do the methods below.
func (w *outside) StartEgress(_ context.Context, r meeting.EgressRequest) (*meeting.Egress, error) {
	w.stepped()
	defer w.stepped()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down != nil {
		return nil, w.down
	}
	if w.startError != nil && !w.startAnyway {
		return nil, w.startError
	}
	e := &egress{Egress: meeting.Egress{
		ID: "EG_" + uuid.NewString(), RoomID: r.Room, Path: r.Key, Status: meeting.EgressActive, StartTime: now(),
	}}
	w.egresses[e.ID] = e
	if w.startError != nil {
		return nil, w.startError
	}
	seen := e.Egress
	return &seen, nil
}

func (w *outside) StopEgress(_ context.Context, id string) (*meeting.Egress, error) {
	w.stepped()
	defer w.stepped()
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.egresses[id]
	switch {
	case w.down != nil:
		return nil, w.down
	case !ok || e.forgotten:
		return nil, meeting.ErrNotFound
	case e.Status.Ended():
		return nil, meeting.ErrRefused
	case e.dead || e.lingers:
		return nil, meeting.ErrUnavailable
	}
	if e.Status == meeting.EgressActive {
		e.Status = meeting.EgressEnding
	}
	seen := e.Egress
	return &seen, nil
}

func (w *outside) RecorderSigns(_ context.Context, room uuid.UUID, id string) (meeting.RecorderSigns, error) {
	w.stepped()
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.egresses[id]
	if w.down != nil {
		return meeting.RecorderSigns{}, w.down
	}
	if !ok || e.forgotten {
		return meeting.RecorderSigns{}, meeting.ErrNotFound
	}
	return meeting.RecorderSigns{
		Listed: e.lingers || !e.dead && !e.left, Answers: !e.dead && !e.lingers, Others: w.live[room] && !w.empty,
	}, nil
}

// RemoveParticipant has a recorder leave the meeting.
func (w *outside) RemoveParticipant(_ context.Context, _ uuid.UUID, identity string) error {
	w.change(identity, func(e *egress) { e.dead, e.lingers = e.dead || e.lingers, false })
	return nil
}

func (w *outside) Egress(_ context.Context, id string) (*meeting.Egress, error) {
	w.stepped()
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.egresses[id]
	if w.down != nil {
		return nil, w.down
	}
	if !ok || e.forgotten {
		return nil, meeting.ErrNotFound
	}
	seen := e.Egress
	return &seen, nil
}

func (w *outside) list(match func(*egress) bool) ([]meeting.Egress, error) {
	w.stepped()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down != nil {
		return nil, w.down
	}
	var found []meeting.Egress
	for _, e := range w.egresses {
		if !e.forgotten && match(e) {
			found = append(found, e.Egress)
		}
	}
	return found, nil
}

func (w *outside) RoomEgresses(_ context.Context, room uuid.UUID) ([]meeting.Egress, error) {
	return w.list(func(e *egress) bool { return e.RoomID == room })
}

func (w *outside) RunningEgresses(context.Context) ([]meeting.Egress, error) {
	return w.list(func(e *egress) bool { return !e.Status.Ended() })
}

func (w *outside) Meeting(_ context.Context, room uuid.UUID) (*meeting.Meeting, error) {
	w.stepped()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down != nil {
		return nil, w.down
	}
	if !w.live[room] {
		return nil, meeting.ErrNotFound
	}
	return &meeting.Meeting{Room: room}, nil
}

func (*outside) Participants(context.Context, uuid.UUID) ([]meeting.Participant, error) {
	return []meeting.Participant{{Identity: "p_test"}}, nil
}

func (w *outside) SendData(context.Context, uuid.UUID, []string, string, []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages++
	return nil
}

// SyncRoom implements liveTasks.
func (w *outside) SyncRoom(context.Context, *ent.Client, uuid.UUID) error {
	w.stepped()
	return nil
}

// Wake implements liveTasks.
func (w *outside) Wake() { w.stepped() }

// RecordingReady implements notifier.
func (w *outside) RecordingReady(_ context.Context, n Notice) error {
	if n.To.ID == w.refuses {
		return errors.New("test: mailbox refuses")
	}
	return w.tell(n.ID)
}

// Summarize implements summary.
func (w *outside) Summarize(_ context.Context, t Transcript) error { return w.tell(t.RecordingID) }

func (w *outside) tell(id uuid.UUID) error {
	w.stepped()
	defer w.stepped()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.notifyError != nil {
		return w.notifyError
	}
	w.told[id]++
	return nil
}

// storageOf is the storage of an outside.
type storageOf outside

func (s *storageOf) Size(_ context.Context, key string) (int64, error) {
	(*outside)(s).stepped()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.storageDown != nil {
		return 0, s.storageDown
	}
	size, ok := s.files[key]
	if !ok {
		return 0, fs.ErrNotExist
	}
	if size == panics {
		panic("test: a file about which the storage panics")
	}
	return size, nil
}

// panics is the size of a file about which the storage panics.
const panics = -1

func (s *storageOf) Delete(_ context.Context, key string) error {
	(*outside)(s).stepped()
	defer (*outside)(s).stepped()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.storageDown != nil {
		return s.storageDown
	}
	delete(s.files, key)
	return nil
}

func (s *storageOf) Open(_ context.Context, key string, offset int64) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, ok := s.files[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(io.LimitReader(endless{}, size-offset)), nil
}

func (*storageOf) Presign(_ context.Context, key, _ string, _ time.Duration) (string, error) {
	return "https://storage.example/" + key, nil
}

func (*storageOf) Verify(string, url.Values) bool { return false }

func (*storageOf) Sign(key string) (http.Header, error) {
	return http.Header{"Authorization": {"test-signature of " + key}, "X-Amz-Date": {"20261122T000000Z"}, "X-Amz-Content-Sha256": {"UNSIGNED"}}, nil
}

// endless is the content of a file of any size.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// steppedJobs writes jobs, and may crash on the way.
type steppedJobs struct {
	outside *outside
	*jobs.Client
}

func (j steppedJobs) Enqueue(ctx context.Context, tx *ent.Client, args jobs.Args, options ...jobs.Option) error {
	j.outside.stepped()
	defer j.outside.stepped()
	return j.Client.Enqueue(ctx, tx, args, options...)
}
