package livekit

import (
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/livekit/protocol/egress"
	lksdk "github.com/livekit/server-sdk-go/v2"

	"github.com/usher-meet/usher/server/internal/recorder"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
)

// egressFixture is a livekit-server with a recorder, a store, and a meeting.
type egressFixture struct {
	*Client
	recorder *recorder.Recorder
	s3       *testenv.S3Server
	meeting  uuid.UUID
}

func newEgressFixture(t *testing.T) *egressFixture {
	t.Helper()
	s := &egressFixture{s3: testenv.S3(t)}
	redis := testenv.Redis(t)
	server := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: redis})
	s.Client = mustNew(t, Config{
		URL: server.URL, Key: testenv.LiveKitKey, Secret: testenv.LiveKitSecret,
		Egress: EgressStorage{
			Endpoint: s.s3.URL, Bucket: testenv.S3Bucket, Region: testenv.S3Region, Key: testenv.S3Key, Secret: testenv.S3Secret,
		},
	})
	s.recorder = newRecorder(t, redis)
	g := newGrant()
	join(t, s.Client, g, "", nil)
	s.meeting = g.Room
	return s
}

func newRecorder(t *testing.T, redis *testenv.RedisServer) *recorder.Recorder {
	t.Helper()
	r, err := recorder.Start(recorder.Config{RedisAddress: redis.Address, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func (s *egressFixture) start(t *testing.T, key string) *meeting.Egress {
	t.Helper()
	e, err := s.StartEgress(t.Context(), meeting.EgressRequest{Room: s.meeting, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// until waits until an egress has a status.
func (s *egressFixture) until(t *testing.T, id string, want meeting.EgressStatus) (e *meeting.Egress) {
	t.Helper()
	eventually(t, "the egress has status "+strconv.Itoa(int(want)), func() bool {
		var err error
		e, err = s.Egress(t.Context(), id)
		return err == nil && e.Status == want
	})
	return e
}

func TestEgress(t *testing.T) {
	t.Parallel()
	s := newEgressFixture(t)
	before := time.Now().Add(-time.Second)
	e := s.start(t, "recordings/film.mp4")
	if e.ID == "" || e.RoomID != s.meeting || e.Path != "recordings/film.mp4" || e.Status.Ended() {
		t.Errorf("started: %+v", e)
	}
	e = s.until(t, e.ID, meeting.EgressActive)
	if e.StartTime.Before(before) || !e.EndTime.IsZero() {
		t.Errorf("active: %+v", e)
	}
	for name, list := range map[string]func() ([]meeting.Egress, error){
		"of the room": func() ([]meeting.Egress, error) { return s.RoomEgresses(t.Context(), s.meeting) },
		"running":     func() ([]meeting.Egress, error) { return s.RunningEgresses(t.Context()) },
	} {
		if found, err := list(); err != nil || len(found) != 1 || found[0].ID != e.ID {
			t.Errorf("egresses %s: %+v, %v", name, found, err)
		}
	}
	if signs, err := s.RecorderSigns(t.Context(), s.meeting, e.ID); err != nil || !signs.Answers || !signs.Others || signs.Listed {
		t.Errorf("the signs of life of a recorder that is not in the meeting: %+v, %v", signs, err)
	}
	if stopped, err := s.StopEgress(t.Context(), e.ID); err != nil || stopped.Status != meeting.EgressEnding {
		t.Errorf("stopped: %+v, %v", stopped, err)
	}
	e = s.until(t, e.ID, meeting.EgressComplete)
	if e.Duration != 2*time.Second || e.EndTime.Before(e.StartTime) || !s.s3.Has("recordings/film.mp4") {
		t.Errorf("complete: %+v, stored %v", e, s.s3.Has("recordings/film.mp4"))
	}
	if found, err := s.RunningEgresses(t.Context()); err != nil || len(found) != 0 {
		t.Errorf("running after the end: %+v, %v", found, err)
	}
	if _, err := s.StopEgress(t.Context(), e.ID); !errors.Is(err, meeting.ErrRefused) {
		t.Errorf("stop after the end: %v, want meeting.ErrRefused", err)
	}
	if _, err := s.StopEgress(t.Context(), "EG_nobody"); !errors.Is(err, meeting.ErrNotFound) {
		t.Errorf("stop of nothing: %v, want meeting.ErrNotFound", err)
	}
	if _, err := s.Egress(t.Context(), "EG_nobody"); !errors.Is(err, meeting.ErrNotFound) {
		t.Errorf("Egress of nothing: %v, want meeting.ErrNotFound", err)
	}
}

func TestEgress_audioOnly(t *testing.T) {
	t.Parallel()
	s := newEgressFixture(t)
	e, err := s.StartEgress(t.Context(), meeting.EgressRequest{Room: s.meeting, Key: "recordings/sound.ogg", AudioOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	s.until(t, e.ID, meeting.EgressActive)
	if _, err := s.StopEgress(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	s.until(t, e.ID, meeting.EgressComplete)
	if !s.s3.Has("recordings/sound.ogg") {
		t.Error("no file")
	}
}

func TestEgress_badEndings(t *testing.T) {
	t.Parallel()
	s := newEgressFixture(t)
	for ending, want := range map[recorder.Ending]meeting.EgressStatus{
		recorder.LimitReached: meeting.EgressLimitReached, recorder.Aborted: meeting.EgressAborted, recorder.Failed: meeting.EgressFailed,
	} {
		s.recorder.Behave(recorder.Script{Ending: ending, EndAfter: 10 * time.Millisecond})
		e := s.until(t, s.start(t, "recordings/"+uuid.NewString()+".mp4").ID, want)
		if e.Detail == "" {
			t.Errorf("%+v does not say why", e)
		}
	}
}

// What is certain must be told from what is not: after an answer that was lost a recorder may come all the same.
func TestStartEgress_refusedOrLost(t *testing.T) {
	t.Parallel()
	s := newEgressFixture(t)
	order := meeting.EgressRequest{Room: s.meeting, Key: "recordings/film.mp4"}
	nowhere := mustNew(t, Config{URL: "http://127.0.0.1:" + strconv.Itoa(testenv.Port(t)), Key: "test-key", Secret: testenv.LiveKitSecret})
	alone, _ := newClient(t) // without Redis there is no egress
	if found, err := alone.RunningEgresses(t.Context()); err != nil || len(found) != 0 {
		t.Errorf("a LiveKit without egress has %v, %v, want none", found, err)
	}
	strangers := s.config
	strangers.Key = "test-unknown"

	s.recorder.Behave(recorder.Script{Refuse: true})
	for name, try := range map[string]struct {
		client *Client
		order  meeting.EgressRequest
		want   error
	}{
		"the recorder refuses":   {s.Client, order, meeting.ErrRefused},
		"no LiveKit there":       {nowhere, order, meeting.ErrRefused},
		"a key that is not ours": {mustNew(t, strangers), order, meeting.ErrRefused},
		"no such room":           {s.Client, meeting.EgressRequest{Room: uuid.New(), Key: "recordings/film.mp4"}, meeting.ErrNotFound},
	} {
		if _, err := try.client.StartEgress(t.Context(), try.order); !errors.Is(err, try.want) {
			t.Errorf("%s: %v, want %v", name, err, try.want)
		}
	}
	s.recorder.Behave(recorder.Script{AnswerAfter: time.Minute})
	if _, err := s.StartEgress(t.Context(), order); !errors.Is(err, meeting.ErrUnavailable) {
		t.Errorf("no answer: %v, want meeting.ErrUnavailable", err)
	}
	eventually(t, "LiveKit knows the recorder that it did not tell of", func() bool {
		found, err := s.RoomEgresses(t.Context(), s.meeting)
		return err == nil && len(found) == 1 && found[0].Path == order.Key
	})
}

func TestRecorderSigns_dead(t *testing.T) {
	t.Parallel()
	s := newEgressFixture(t)
	e := s.until(t, s.start(t, "recordings/film.mp4").ID, meeting.EgressActive)
	s.recorder.Close()
	if signs, err := s.RecorderSigns(t.Context(), s.meeting, e.ID); err != nil || signs.Answers || signs.Listed {
		t.Errorf("a dead recorder: %+v, %v", signs, err)
	}
	if _, err := s.StopEgress(t.Context(), e.ID); !errors.Is(err, meeting.ErrUnavailable) {
		t.Errorf("stop of a dead recorder: %v, want meeting.ErrUnavailable", err)
	}
	s.until(t, e.ID, meeting.EgressActive) // LiveKit never finds out
}

// How the presence of a recorder shows, of video and of sound alone: both join with a token of this kind, hidden from browsers.
// LiveKit lists them all the same, under the id of the egress, until they have left.
func TestRecorderSigns_inMeeting(t *testing.T) {
	t.Parallel()
	s := newEgressFixture(t)
	for name, order := range map[string]meeting.EgressRequest{
		"video": {Room: s.meeting, Key: "recordings/film.mp4"},
		"sound": {Room: s.meeting, Key: "recordings/sound.ogg", AudioOnly: true},
	} {
		e, err := s.StartEgress(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		s.until(t, e.ID, meeting.EgressActive)
		token, err := egress.BuildEgressToken(e.ID, testenv.LiveKitKey, testenv.LiveKitSecret, s.meeting.String())
		if err != nil {
			t.Fatal(err)
		}
		browser, err := lksdk.ConnectToRoomWithToken(strings.Replace(s.config.URL, "http", "ws", 1), token, nil)
		if err != nil {
			t.Fatal(err)
		}
		signs, err := s.RecorderSigns(t.Context(), s.meeting, e.ID)
		if want := (meeting.RecorderSigns{Listed: true, Answers: true, Others: true}); err != nil || signs != want {
			t.Errorf("%s: signs of life in the meeting: %+v, %v", name, signs, err)
		}
		browser.Disconnect()
		eventually(t, name+": a recorder that left the meeting answers, and is not listed", func() bool {
			signs, err := s.RecorderSigns(t.Context(), s.meeting, e.ID)
			return err == nil && signs.Answers && !signs.Listed && signs.Others
		})
		if seen := s.until(t, e.ID, meeting.EgressActive); seen.Status.Ended() {
			t.Errorf("%s: LiveKit notices: %+v", name, seen)
		}
	}
}
