package server_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/recorder"
	"github.com/usher-meet/usher/server/meeting"
	"github.com/usher-meet/usher/server/recordings"
	"github.com/usher-meet/usher/server/settings"
)

// Statuses and the mode that these tests are about, by shorter names.
const (
	recordingActive        = usherv1.RecordingStatus_RECORDING_STATUS_ACTIVE
	recordingFailedToStart = usherv1.RecordingStatus_RECORDING_STATUS_FAILED_TO_START
	recordingFailed        = usherv1.RecordingStatus_RECORDING_STATUS_FAILED
	recordingToldOf        = usherv1.RecordingStatus_RECORDING_STATUS_NOTIFICATION_SUCCEEDED
	screenRecording        = usherv1.RecordingMode_RECORDING_MODE_SCREEN_RECORDING
)

// inAHurry shortens the time limits of recordings and sweeps every second, so that a test need not wait for them.
func inAHurry(c *settings.Config) {
	c.Recording.Sweep = time.Second
	c.Recording.Timing = recordings.Timing{
		StartWithin: 3 * time.Second, LostAfter: 2 * time.Second, GiveUpStop: 5 * time.Second, UploadWithin: 10 * time.Second,
		PurgeFor: 2 * time.Second,
	}
}

// orders makes the next request that orders a recorder go wrong, and no other.
func orders(f proxyFault) func(*http.Request) proxyFault {
	var mu sync.Mutex
	done := false
	return func(r *http.Request) proxyFault {
		mu.Lock()
		defer mu.Unlock()
		if done || !strings.HasSuffix(r.URL.Path, "/StartRoomCompositeEgress") {
			return proxyFault{}
		}
		done = true
		return f
	}
}

// egresses are those of one recording that LiveKit knows of.
func (s *recordingFixture) egresses(id string) (list []meeting.Egress) {
	s.t.Helper()
	for _, e := range must[[]meeting.Egress](s.t)(s.liveKit().RoomEgresses(s.t.Context(), uuid.MustParse(s.room.GetId()))) {
		if strings.Contains(e.Path, id) {
			list = append(list, e)
		}
	}
	return list
}

// finish stops what is being recorded, and waits until people were told.
func (s *recordingFixture) finish(id string) {
	s.t.Helper()
	must[*usherv1.StopRecordingResponse](s.t)(s.host.StopRecording(s.t.Context(), &usherv1.StopRecordingRequest{Room: s.room.GetId()}))
	s.until(id, recordingToldOf)
}

// Hosts on two servers start at the same moment, with a real LiveKit behind: there is one recorder.
func TestOneRecordingPerRoom_concurrent(t *testing.T) {
	t.Parallel()
	s := newRecordingFixture(t)
	s.join(s.host, "Olga")
	token := bearer(s.apiToken(s.owner, "rooms", "recordings"))
	hosts := []*clients{s.host, s.sibling().clients(token)}
	for round := range 3 {
		var mu sync.Mutex
		var started []string
		refused := 0
		var callers sync.WaitGroup
		for n := range 8 {
			callers.Go(func() {
				res, err := hosts[n%2].StartRecording(t.Context(), &usherv1.StartRecordingRequest{Room: s.room.GetId(), Mode: screenRecording})
				mu.Lock()
				defer mu.Unlock()
				switch reason(err) {
				case "":
					started = append(started, res.GetRecording().GetId())
				case "RECORDING_IN_PROGRESS":
					refused++
				default:
					t.Errorf("start: %v", err)
				}
			})
		}
		callers.Wait()
		if len(started) != 1 || refused != 7 {
			t.Fatalf("round %d: %d started, %d refused; want 1, 7", round, len(started), refused)
		}
		s.until(started[0], recordingActive)
		if ids := s.recorder.Recording(); len(ids) != 1 {
			t.Errorf("round %d: recorders %v, want one", round, ids)
		}
		s.finish(started[0])
	}
	if list := must[[]meeting.Egress](t)(s.liveKit().RoomEgresses(t.Context(), uuid.MustParse(s.room.GetId()))); len(list) != 3 {
		t.Errorf("LiveKit was asked for %d recorders, want 3", len(list))
	}
}

// An order stays on its way until its recording was given up, and the next one goes on. The recorder that comes then is
// stopped, and what it stores is deleted.
func TestLateEgressIsStopped(t *testing.T) {
	t.Parallel()
	s := newRecordingFixture(t, inAHurry)
	s.join(s.host, "Olga")
	arrives := make(chan struct{})
	s.liveKitAPI.set(orders(proxyFault{until: arrives}))
	given := s.start(screenRecording)
	s.until(given.GetId(), recordingFailedToStart)
	next := s.start(screenRecording)
	s.until(next.GetId(), recordingActive)
	close(arrives)
	s.eventually("the late recorder has come and was stopped", 30*time.Second, func() bool {
		list := s.egresses(given.GetId())
		return len(list) == 1 && list[0].Status == meeting.EgressComplete
	})
	s.eventually("its file is deleted", 30*time.Second, func() bool { return !s.s3.Has("recordings/" + given.GetId() + ".mp4") })
	s.until(given.GetId(), recordingFailedToStart)
	s.until(next.GetId(), recordingActive)
	s.finish(next.GetId())
	if n := len(s.mails.Mails()); n != 1 {
		t.Errorf("%d mails, want one", n)
	}
}

// The recorder's machine dies, before or after it has stored the file. LiveKit lists it as running for ever; its room is
// free soon.
func TestDeadWorkerFreesRoom(t *testing.T) {
	t.Parallel()
	s := newRecordingFixture(t, inAHurry)
	s.join(s.host, "Olga")
	for ending, want := range map[recorder.Ending]usherv1.RecordingStatus{
		recorder.Died: recordingFailed, recorder.DiedStored: recordingToldOf,
	} {
		s.recorder.Behave(recorder.Script{Ending: ending, EndAfter: 50 * time.Millisecond})
		rec := s.start(screenRecording)
		got := s.until(rec.GetId(), want)
		if stored := s.s3.Has("recordings/" + rec.GetId() + ".mp4"); stored != got.GetDownloadable() {
			t.Errorf("a file is there: %v, and the recording says %v", stored, got)
		}
		if list := s.egresses(rec.GetId()); len(list) != 1 || list[0].Status.Ended() {
			t.Errorf("LiveKit knows %v, want one that runs", list)
		}
	}
	s.recorder.Behave(recorder.Script{})
	rec := s.start(screenRecording)
	s.until(rec.GetId(), recordingActive)
	s.finish(rec.GetId())
}

// LiveKit takes an order and its answer is lost, and so is every event: the sweep finds the recorder. The order itself is
// lost: the recording says so.
func TestStartAnswerLost(t *testing.T) {
	t.Parallel()
	s := newRecordingFixture(t, inAHurry)
	s.join(s.host, "Olga")
	s.webhooks.set(func(*http.Request) proxyFault { return proxyFault{status: http.StatusOK} })
	s.liveKitAPI.set(orders(proxyFault{loseAnswer: true}))
	there := s.start(screenRecording)
	if there.GetStatus() != usherv1.RecordingStatus_RECORDING_STATUS_INITIATED {
		t.Errorf("no answer, and it is %v", there.GetStatus())
	}
	s.until(there.GetId(), recordingActive)
	s.finish(there.GetId())
	if list := s.egresses(there.GetId()); len(list) != 1 {
		t.Errorf("%d recorders, want one", len(list))
	}

	s.liveKitAPI.set(orders(proxyFault{lose: true}))
	none := s.start(screenRecording)
	if none.GetStatus() != usherv1.RecordingStatus_RECORDING_STATUS_INITIATED {
		t.Errorf("no answer, and it is %v", none.GetStatus())
	}
	got := s.until(none.GetId(), recordingFailedToStart)
	if got.GetFailure().GetReason() != usherv1.RecordingFailureReason_RECORDING_FAILURE_REASON_NOT_STARTED || len(s.egresses(none.GetId())) != 0 {
		t.Errorf("after an order that was lost: %v", got)
	}
	next := s.start(screenRecording)
	s.until(next.GetId(), recordingActive)
	s.finish(next.GetId())
}
