package livekit

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
)

// newClient connects to a livekit-server of this test.
func newClient(t *testing.T, change ...func(*Config)) (*Client, *testenv.LiveKitServer) {
	t.Helper()
	server := testenv.LiveKit(t)
	config := Config{
		URL: server.URL, Key: testenv.LiveKitKey, Secret: testenv.LiveKitSecret, SnapshotAge: 50 * time.Millisecond,
		EmptyTimeout: 33 * time.Second, DepartureTimeout: 44 * time.Second, MaxParticipants: 55,
	}
	for _, f := range change {
		f(&config)
	}
	return mustNew(t, config), server
}

func mustNew(t *testing.T, config Config) *Client {
	t.Helper()
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// join brings a Go SDK participant into the room, with a token of the client.
func join(t *testing.T, c *Client, g meeting.Grant, metadata string, callback *lksdk.RoomCallback) *lksdk.Room {
	t.Helper()
	token, _, err := c.Token(g, metadata)
	if err != nil {
		t.Fatal(err)
	}
	room, err := lksdk.ConnectToRoomWithToken(strings.Replace(c.config.URL, "http", "ws", 1), token, callback)
	if err != nil {
		t.Fatalf("join: %v", err)
	}
	t.Cleanup(room.Disconnect)
	return room
}

// eventually waits for something that LiveKit does in its own time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func newGrant() meeting.Grant {
	return meeting.Grant{
		Room: uuid.New(), Identity: "p_test-" + uuid.NewString(), DisplayName: "Ada",
		Attributes: map[string]string{"room_role": "MEMBER", "color": "hsl(1, 50%, 50%)"},
		Sources:    []usherv1.TrackSource{usherv1.TrackSource_TRACK_SOURCE_MICROPHONE},
	}
}

func TestNew_refusesBadSettings(t *testing.T) {
	t.Parallel()
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(notPEM, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := Config{URL: "https://livekit.example.org", Key: "test-key", Secret: "test-secret"}
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no address", func(c *Config) { c.URL = "" }, "must begin with"},
		{"another scheme", func(c *Config) { c.URL = "ftp://livekit.example.org" }, "must begin with"},
		{"no host", func(c *Config) { c.URL = "https://" }, "names no host"},
		{"no key", func(c *Config) { c.Key = "" }, "a key and a secret"},
		{"no secret", func(c *Config) { c.Secret = "" }, "a key and a secret"},
		{"a CA file that is not there", func(c *Config) { c.CAFile = notPEM + ".absent" }, "read the CA file"},
		{"a CA file without a certificate", func(c *Config) { c.CAFile = notPEM }, "holds no certificate"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config := good
			test.change(&config)
			_, err := New(config)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("New: got error %v, want one with %q", err, test.want)
			}
		})
	}
	if _, err := New(good); err != nil {
		t.Errorf("New with good settings: %v", err)
	}
}

// A LiveKit behind TLS with a certificate of a private CA is reached with that CA's file, and not without it.
func TestPing_privateCA(t *testing.T) {
	t.Parallel()
	var asked string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Path
		w.Header().Set("Content-Type", "application/protobuf")
	}))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = nil
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	config := Config{URL: strings.Replace(server.URL, "https", "wss", 1) + "/", Key: "test-key", Secret: "test-secret"}

	if err := mustNew(t, config).Ping(t.Context()); !errors.Is(err, meeting.ErrUnavailable) {
		t.Errorf("Ping without the CA file: got %v, want meeting.ErrUnavailable", err)
	}
	config.CAFile = ca
	if err := mustNew(t, config).Ping(t.Context()); err != nil {
		t.Errorf("Ping with the CA file: %v", err)
	}
	if want := "/twirp/livekit.RoomService/ListRooms"; asked != want {
		t.Errorf("asked for %q, want %q", asked, want)
	}
}

// A caller that gives up learns that it gave up, not that LiveKit is down.
func TestMeeting_callerGone(t *testing.T) {
	t.Parallel()
	stuck := hangingServer(t)
	c := mustNew(t, Config{URL: stuck.URL, Key: "test-key", Secret: "test-secret"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Meeting(ctx, uuid.New())
	if !errors.Is(err, context.Canceled) || errors.Is(err, meeting.ErrUnavailable) {
		t.Errorf("Meeting: got %v, want context.Canceled", err)
	}
}

// hangingServer takes requests and never answers them.
func hangingServer(t *testing.T) *httptest.Server {
	t.Helper()
	stop := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(stop); server.Close() })
	return server
}

func TestPing_wrongKey(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t, func(config *Config) { config.Secret = "test-another-secret-of-32-characters" })
	if err := c.Ping(t.Context()); !errors.Is(err, meeting.ErrUnavailable) {
		t.Errorf("Ping with a wrong secret: got %v, want meeting.ErrUnavailable", err)
	}
}

// Everything about a room that is not live is either success or meeting.ErrNotFound.
func TestClient_notLive(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t)
	g := newGrant()
	ctx := t.Context()

	if _, err := c.Meeting(ctx, g.Room); !errors.Is(err, meeting.ErrNotFound) {
		t.Errorf("Meeting: got %v, want meeting.ErrNotFound", err)
	}
	if list, err := c.Participants(ctx, g.Room); err != nil || len(list) != 0 {
		t.Errorf("Participants: got %v, %v, want none", list, err)
	}
	if rooms, err := c.LiveRooms(ctx); err != nil || len(rooms) != 0 {
		t.Errorf("LiveRooms: got %v, %v, want none", rooms, err)
	}
	if err := c.CloseRoom(ctx, g.Room); err != nil {
		t.Errorf("CloseRoom: %v", err)
	}
	if err := c.RemoveParticipant(ctx, g.Room, g.Identity); err != nil {
		t.Errorf("RemoveParticipant: %v", err)
	}
	if err := c.UpdateParticipant(ctx, g); !errors.Is(err, meeting.ErrNotFound) {
		t.Errorf("UpdateParticipant: got %v, want meeting.ErrNotFound", err)
	}
	if err := c.SetRoomMetadata(ctx, g.Room, "{}"); !errors.Is(err, meeting.ErrNotFound) {
		t.Errorf("SetRoomMetadata: got %v, want meeting.ErrNotFound", err)
	}
	if err := c.Ping(ctx); err != nil {
		t.Errorf("Ping: %v", err)
	}
}

// LiveKit killed: every call says so and Live says nothing. Started again: everything works.
func TestClient_livekitRestarted(t *testing.T) {
	t.Parallel()
	c, server := newClient(t)
	g := newGrant()
	ctx := t.Context()
	if got := c.Live(ctx, g.Room); got == nil || got.GetActive() {
		t.Fatalf("Live before: got %v, want a room that is not live", got)
	}

	server.Kill()
	calls := map[string]func() error{
		"Meeting":           func() error { _, err := c.Meeting(ctx, g.Room); return err },
		"Participants":      func() error { _, err := c.Participants(ctx, g.Room); return err },
		"LiveRooms":         func() error { _, err := c.LiveRooms(ctx); return err },
		"CloseRoom":         func() error { return c.CloseRoom(ctx, g.Room) },
		"RemoveParticipant": func() error { return c.RemoveParticipant(ctx, g.Room, g.Identity) },
		"UpdateParticipant": func() error { return c.UpdateParticipant(ctx, g) },
		"SetRoomMetadata":   func() error { return c.SetRoomMetadata(ctx, g.Room, "{}") },
		"Ping":              func() error { return c.Ping(ctx) },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, meeting.ErrUnavailable) {
			t.Errorf("%s with LiveKit down: got %v, want meeting.ErrUnavailable", name, err)
		}
	}
	eventually(t, "Live knows nothing while LiveKit is down", func() bool { return c.Live(ctx, g.Room) == nil })

	server.Restart()
	join(t, c, g, `{"name":"after"}`, nil)
	m, err := c.Meeting(ctx, g.Room)
	if err != nil || m.Metadata != `{"name":"after"}` {
		t.Errorf("Meeting after the restart: got %+v, %v", m, err)
	}
	eventually(t, "Live sees the room after the restart", func() bool { return c.Live(ctx, g.Room).GetActive() })
}

// A room that somebody else made in the same LiveKit is none of ours, even when its name reads as a UUID.
func TestLiveRooms_foreignRooms(t *testing.T) {
	t.Parallel()
	c, server := newClient(t)
	g := newGrant()
	join(t, c, g, "", nil)
	admin := lksdk.NewRoomServiceClient(server.URL, testenv.LiveKitKey, testenv.LiveKitSecret)
	for _, name := range []string{"somebody-elses", strings.ToUpper(uuid.NewString()), "{" + uuid.NewString() + "}"} {
		if _, err := admin.CreateRoom(t.Context(), &livekit.CreateRoomRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	rooms, err := c.LiveRooms(t.Context())
	if err != nil || len(rooms) != 1 || rooms[0] != g.Room {
		t.Errorf("LiveRooms: got %v, %v, want only %v", rooms, err, g.Room)
	}
}
