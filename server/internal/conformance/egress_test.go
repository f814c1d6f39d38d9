//go:build conformance

package conformance

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	"github.com/twitchtv/twirp"

	"github.com/usher-meet/usher/server/internal/recorder"
)

// The recorder is a stand-in: what is tried here is what livekit-server makes of what a recorder does. docs/recording.md has
// what the real one does.
var egressFacts = []fact{
	{
		"A recorder is listed by its id, by its room, and among those that run; once it has ended, by the first two",
		"finds out how each recording goes on", egressListed,
	},
	{
		"egress_started and egress_ended are told of with id, room, path and status",
		"looks at the recording at once", egressTold,
	},
	{
		"The end of a recording is told of and listed as the recorder says: status, error, and the file with its times",
		"shows why a recording failed, and for how long it was recorded", egressEnds,
	},
	{
		"Recording a room that is not there is not_found, and a recorder's refusal comes through as invalid_argument",
		"answers at once that nothing was begun", egressRefused,
	},
	{
		"A recorder whose answer to the order is lost is listed all the same",
		"finds and ends such recorders", egressAnswerLost,
	},
	{
		"Without a recorder the order is answered after at most 25 s, with unavailable, and nothing is listed",
		"lets jobs run longer than that, and says that no recorder is there", egressNobody,
	},
	{
		"Of a recorder that died LiveKit says for ever that it records; stopping it, and asking it something, is " +
			"unavailable or deadline_exceeded",
		"counts looks in which it does not answer, and gives up", egressDead,
	},
	{
		"UpdateStream is refused with invalid_argument by a recorder that makes a file, and changes nothing",
		"asks recorders so whether they are there", egressAsked,
	},
	{
		"Stopping what has ended is failed_precondition, stopping what never was is not_found, and such a one is not listed",
		"tells a recorder that has ended from one that does not answer", egressStopped,
	},
	{
		"A recorder's browser is listed in its room with kind EGRESS under the id of the egress until it leaves, and nobody sees it",
		"knows by that list that a recorder died, and shows no recorder as a person", egressInRoom,
	},
	{
		"A recorder's browser is put out like anybody else",
		"takes away dead ones, which would show a recording that is none", egressPutOut,
	},
	{
		"The end of a recording is told of although its room is gone",
		"saves recordings of meetings that ended", egressOutlivesRoom,
	},
	{
		"When Redis is emptied, LiveKit does not list the recorder any more, and tells of its end all the same",
		"saves a recording that it had given up when its file comes", egressForgotten,
	},
}

// record has a room recorded, with a meeting in it, by a recorder that behaves so. It returns the egress.
func (f *fixture) record(t *testing.T, room string, script recorder.Script) *livekit.EgressInfo {
	t.Helper()
	info, err := f.tryRecord(t, room, script)
	if err != nil {
		t.Fatalf("record: %v", err)
	}
	return info
}

func (f *fixture) tryRecord(t *testing.T, room string, script recorder.Script) (*livekit.EgressInfo, error) {
	t.Helper()
	f.mu.Lock()
	f.scripts[room] = script
	f.mu.Unlock()
	return f.egress.StartRoomCompositeEgress(t.Context(), f.order(room))
}

// order is what is asked of a recorder.
func (f *fixture) order(room string) *livekit.RoomCompositeEgressRequest {
	return &livekit.RoomCompositeEgressRequest{
		RoomName: room, Layout: "speaker-light", FileOutputs: []*livekit.EncodedFileOutput{{
			FileType: livekit.EncodedFileType_MP4, Filepath: f.film(room), DisableManifest: true,
		}},
	}
}

// film is where the recording of a room goes.
func (f *fixture) film(room string) string { return filepath.Join(f.folder, room+".mp4") }

// list is what LiveKit lists of egresses. That there are none is not_found to some versions.
func (f *fixture) list(t *testing.T, req *livekit.ListEgressRequest) []*livekit.EgressInfo {
	t.Helper()
	res, err := f.egress.ListEgress(t.Context(), req)
	if err != nil && code(err) != twirp.NotFound {
		t.Fatalf("list egresses: %v", err)
	}
	return res.GetItems()
}

// until waits until an egress has a status.
func (f *fixture) until(t *testing.T, id string, status livekit.EgressStatus) *livekit.EgressInfo {
	t.Helper()
	var info *livekit.EgressInfo
	eventually(t, "the egress is "+status.String(), func() bool {
		list := f.list(t, &livekit.ListEgressRequest{EgressId: id})
		if len(list) == 1 {
			info = list[0]
		}
		return info.GetStatus() == status && info != nil
	})
	return info
}

// stop asks a recorder to end.
func (f *fixture) stop(t *testing.T, id string) error {
	t.Helper()
	_, err := f.egress.StopEgress(t.Context(), &livekit.StopEgressRequest{EgressId: id})
	return err
}

// ask asks a recorder for what none does that makes a file.
func (f *fixture) ask(t *testing.T, id string) error {
	t.Helper()
	_, err := f.egress.UpdateStream(t.Context(), &livekit.UpdateStreamRequest{EgressId: id})
	return err
}

// recording is a room with somebody in it and a recorder that records.
func (f *fixture) recording(t *testing.T, script recorder.Script) (room, id string) {
	t.Helper()
	room = newRoom()
	f.join(t, room, "ada")
	id = f.record(t, room, script).GetEgressId()
	f.until(t, id, livekit.EgressStatus_EGRESS_ACTIVE)
	return room, id
}

func egressListed(t *testing.T, f *fixture) {
	room, id := f.recording(t, recorder.Script{})
	is := func(what string, list []*livekit.EgressInfo, want bool) {
		t.Helper()
		found := false
		for _, e := range list {
			found = found || e.GetEgressId() == id
		}
		if found != want {
			t.Errorf("listed %s: %v, want %v", what, found, want)
		}
	}
	is("by its room", f.list(t, &livekit.ListEgressRequest{RoomName: room}), true)
	is("among those that run", f.list(t, &livekit.ListEgressRequest{Active: true}), true)
	is("by another room", f.list(t, &livekit.ListEgressRequest{RoomName: newRoom()}), false)
	if err := f.stop(t, id); err != nil {
		t.Fatal(err)
	}
	f.until(t, id, livekit.EgressStatus_EGRESS_COMPLETE)
	is("by its room after the end", f.list(t, &livekit.ListEgressRequest{RoomName: room}), true)
	is("among those that run after the end", f.list(t, &livekit.ListEgressRequest{Active: true}), false)
}

func egressTold(t *testing.T, f *fixture) {
	room, id := f.recording(t, recorder.Script{})
	if err := f.stop(t, id); err != nil {
		t.Fatal(err)
	}
	for kind, status := range map[string]livekit.EgressStatus{
		"egress_started": livekit.EgressStatus_EGRESS_STARTING, "egress_ended": livekit.EgressStatus_EGRESS_COMPLETE,
	} {
		d := f.receiver.await(t, room, kind, 1)
		info := d.GetEgressInfo()
		if info.GetEgressId() != id || info.GetStatus() != status || d.GetId() == "" || d.GetCreatedAt() == 0 ||
			info.GetRoomComposite().GetFileOutputs()[0].GetFilepath() != f.film(room) {
			t.Errorf("%s says %v", kind, d.WebhookEvent)
		}
	}
}

func egressEnds(t *testing.T, f *fixture) {
	for ending, want := range map[recorder.Ending]livekit.EgressStatus{
		recorder.Complete: livekit.EgressStatus_EGRESS_COMPLETE, recorder.LimitReached: livekit.EgressStatus_EGRESS_LIMIT_REACHED,
		recorder.Aborted: livekit.EgressStatus_EGRESS_ABORTED, recorder.Failed: livekit.EgressStatus_EGRESS_FAILED,
	} {
		room := newRoom()
		f.createRoom(t, room)
		id := f.record(t, room, recorder.Script{Ending: ending, EndAfter: 10 * time.Millisecond}).GetEgressId()
		listed, told := f.until(t, id, want), f.receiver.await(t, room, "egress_ended", 1).GetEgressInfo()
		for _, info := range []*livekit.EgressInfo{listed, told} {
			bad, filmed := ending != recorder.Complete, ending == recorder.Complete || ending == recorder.LimitReached
			if info.GetStatus() != want || (info.GetError() != "") != bad || info.GetEndedAt() == 0 ||
				(len(info.GetFileResults()) == 1 && info.GetFileResults()[0].GetDuration() > 0) != filmed {
				t.Errorf("an egress that ends as %v: %v", want, info)
			}
		}
	}
}

func egressRefused(t *testing.T, f *fixture) {
	_, err := f.tryRecord(t, newRoom(), recorder.Script{})
	wantCode(t, "a room that is not there", err, twirp.NotFound)
	room := newRoom()
	f.createRoom(t, room)
	_, err = f.tryRecord(t, room, recorder.Script{Refuse: true})
	wantCode(t, "a recorder that refuses", err, twirp.InvalidArgument)
}

func egressAnswerLost(t *testing.T, f *fixture) {
	room := newRoom()
	f.createRoom(t, room)
	go func() { _, _ = f.tryRecord(t, room, recorder.Script{AnswerAfter: time.Minute}) }() // its answer is what gets lost
	eventually(t, "the recorder is listed", func() bool {
		list := f.list(t, &livekit.ListEgressRequest{RoomName: room})
		return len(list) == 1 && list[0].GetRoomComposite().GetFileOutputs()[0].GetFilepath() == f.film(room)
	})
}

func egressNobody(t *testing.T, f *fixture) {
	lonely := f.another(t, parts{noRecorder: true})
	room := newRoom()
	lonely.createRoom(t, room)
	// The client of the SDK waits for 10 s only.
	patient := livekit.NewEgressProtobufClient(lonely.lk.URL, http.DefaultClient)
	may := token(t, room, "api", func(_ *auth.AccessToken, grant *auth.VideoGrant) { grant.RoomRecord = true })
	ctx, err := twirp.WithHTTPRequestHeaders(t.Context(), http.Header{"Authorization": {"Bearer " + may}})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, err = patient.StartRoomCompositeEgress(ctx, lonely.order(room))
	wantCode(t, "the order", err, twirp.Unavailable)
	if took := time.Since(begin); took > 25*time.Second {
		t.Errorf("it was answered after %v", took)
	}
	if list := lonely.list(t, &livekit.ListEgressRequest{}); len(list) != 0 {
		t.Errorf("listed: %v", list)
	}
}

func egressDead(t *testing.T, f *fixture) {
	own := f.another(t, parts{})
	_, id := own.recording(t, recorder.Script{})
	own.recorder.Close()
	wantCode(t, "stopping it", own.stop(t, id), twirp.Unavailable, twirp.DeadlineExceeded)
	wantCode(t, "asking it", own.ask(t, id), twirp.Unavailable, twirp.DeadlineExceeded)
	own.until(t, id, livekit.EgressStatus_EGRESS_ACTIVE)
}

func egressAsked(t *testing.T, f *fixture) {
	_, id := f.recording(t, recorder.Script{})
	wantCode(t, "asking it", f.ask(t, id), twirp.InvalidArgument)
	f.until(t, id, livekit.EgressStatus_EGRESS_ACTIVE)
}

func egressStopped(t *testing.T, f *fixture) {
	_, id := f.recording(t, recorder.Script{})
	if err := f.stop(t, id); err != nil {
		t.Fatal(err)
	}
	f.until(t, id, livekit.EgressStatus_EGRESS_COMPLETE)
	wantCode(t, "stopping it again", f.stop(t, id), twirp.FailedPrecondition)
	wantCode(t, "stopping what never was", f.stop(t, "EG_nobody"), twirp.NotFound)
	if list := f.list(t, &livekit.ListEgressRequest{EgressId: "EG_nobody"}); len(list) != 0 {
		t.Errorf("what never was is listed: %v", list)
	}
}

func egressInRoom(t *testing.T, f *fixture) {
	room, id := f.recording(t, recorder.Script{})
	grace := f.join(t, room, "grace")
	browser := f.joinRecorder(t, room, id)
	if p := f.person(t, room, id); p.GetKind() != livekit.ParticipantInfo_EGRESS {
		t.Errorf("listed: %v", p)
	}
	f.join(t, room, "mary").Speak() // seen after whoever came before
	grace.Hears("mary")
	if grace.Room.GetParticipantByIdentity(id) != nil {
		t.Error("Grace sees the recorder")
	}
	browser.Room.Disconnect()
	eventually(t, "the recorder is not listed any more", func() bool { return f.person(t, room, id) == nil })
	f.until(t, id, livekit.EgressStatus_EGRESS_ACTIVE)
}

func egressPutOut(t *testing.T, f *fixture) {
	room, id := f.recording(t, recorder.Script{})
	browser := f.joinRecorder(t, room, id)
	if err := f.remove(t, room, id); err != nil {
		t.Fatal(err)
	}
	browser.WaitGone()
	eventually(t, "the recorder is not listed any more", func() bool { return f.person(t, room, id) == nil })
}

func egressOutlivesRoom(t *testing.T, f *fixture) {
	room, id := f.recording(t, recorder.Script{})
	f.deleteRoom(t, room)
	f.receiver.await(t, room, "room_finished", 1)
	if err := f.stop(t, id); err != nil {
		t.Fatal(err)
	}
	if got := f.receiver.await(t, room, "egress_ended", 1).GetEgressInfo().GetEgressId(); got != id {
		t.Errorf("the end of %s is told of, want %s", got, id)
	}
	f.until(t, id, livekit.EgressStatus_EGRESS_COMPLETE)
}

func egressForgotten(t *testing.T, f *fixture) {
	own := f.another(t, parts{})
	room, id := own.recording(t, recorder.Script{})
	client := own.lk.Redis.Client(t)
	if err := client.Do(t.Context(), client.B().Flushall().Build()).Error(); err != nil {
		t.Fatal(err)
	}
	if list := own.list(t, &livekit.ListEgressRequest{RoomName: room}); len(list) != 0 {
		t.Errorf("listed: %v", list)
	}
	if err := own.stop(t, id); err != nil {
		t.Fatal(err)
	}
	if got := own.receiver.await(t, room, "egress_ended", 1).GetEgressInfo(); got.GetEgressId() != id {
		t.Errorf("the end of %v is told of, want %s", got, id)
	}
}
