package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
)

// post makes a call as curl would and returns the answer as JSON.
func (i *instance) post(procedure, token, body string) (int, map[string]any) {
	i.t.Helper()
	req, err := http.NewRequestWithContext(i.t.Context(), http.MethodPost, i.URL+procedure, bytes.NewBufferString(body))
	if err != nil {
		i.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		i.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		i.t.Fatalf("%s answered %d %q: %v", procedure, res.StatusCode, text, err)
	}
	return res.StatusCode, answer
}

// A room made with curl is joined by two people through LiveKit, and each receives the other's sound. A guest of a
// restricted room has to wait.
func TestCurlMeeting(t *testing.T) {
	t.Parallel()
	i := start(t)
	token := i.apiToken(i.user("Ada Meeting"), "rooms")

	status, answer := i.post(usherv1connect.RoomsServiceCreateRoomProcedure, token, `{"name":"Weekly sync","accessLevel":"ACCESS_LEVEL_PUBLIC"}`)
	if status != http.StatusOK {
		t.Fatalf("CreateRoom = %d %v", status, answer)
	}
	room := answer["room"].(map[string]any)
	if room["slug"] != "weekly-sync" || room["myRole"] != "ROLE_OWNER" || room["joinMode"] != "JOIN_MODE_DIRECT" {
		t.Errorf("room = %v, want slug weekly-sync, the owner's role and direct join", room)
	}

	var people []*participant.Participant
	for _, who := range []struct{ token, name string }{{token, "Ada Meeting"}, {"", "Guest Of Meeting"}} {
		status, answer := i.post(usherv1connect.RoomsServiceJoinRoomProcedure, who.token, `{"room":"weekly-sync","displayName":"`+who.name+`"}`)
		if status != http.StatusOK {
			t.Fatalf("JoinRoom = %d %v", status, answer)
		}
		c := answer["connection"].(map[string]any)
		i.secrets.add(c["token"].(string), c["sessionToken"].(string), who.name)
		p := participant.Join(t, c["serverUrl"].(string), c["token"].(string))
		if p.Identity() != c["participantIdentity"] {
			t.Errorf("identity = %q, want %q", p.Identity(), c["participantIdentity"])
		}
		if p.Room.Name() != room["id"] {
			t.Errorf("LiveKit room = %q, want the room's id %q", p.Room.Name(), room["id"])
		}
		people = append(people, p)
	}
	for _, p := range people {
		p.Speak()
	}
	people[0].Hears(people[1].Identity())
	people[1].Hears(people[0].Identity())

	status, answer = i.post(usherv1connect.RoomsServiceCreateRoomProcedure, token, `{"name":"Board","accessLevel":"ACCESS_LEVEL_RESTRICTED"}`)
	if status != http.StatusOK {
		t.Fatalf("CreateRoom = %d %v", status, answer)
	}
	status, answer = i.post(usherv1connect.RoomsServiceJoinRoomProcedure, "", `{"room":"board","displayName":"Guest Of Meeting"}`)
	details, _ := json.Marshal(answer["details"])
	if status != http.StatusBadRequest || answer["code"] != "failed_precondition" || !bytes.Contains(details, []byte(`"LOBBY_REQUIRED"`)) {
		t.Errorf("JoinRoom of a restricted room by a guest = %d %v, want 400 failed_precondition LOBBY_REQUIRED", status, answer)
	}
}
