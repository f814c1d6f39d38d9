package livekit

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"

	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/meeting"
)

// callerToken is a token as LiveKit's phone bridge makes it.
func callerToken(t *testing.T, room uuid.UUID, identity string) string {
	t.Helper()
	token, err := auth.NewAccessToken(testenv.LiveKitKey, testenv.LiveKitSecret).
		SetIdentity(identity).SetName("Phone 1234").SetKind(livekit.ParticipantInfo_SIP).SetValidFor(time.Minute).
		SetVideoGrant(&auth.VideoGrant{RoomJoin: true, Room: room.String()}).ToJWT()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// connecting waits until somebody is in the room and not connected yet.
func connecting(t *testing.T, c *Client, room uuid.UUID, identity string) {
	t.Helper()
	eventually(t, "the caller is connecting", func() bool {
		p, err := c.caller(t.Context(), room, identity)
		if p.GetState() == livekit.ParticipantInfo_ACTIVE {
			t.Fatal("the caller is connected already")
		}
		return err == nil
	})
}

// A caller who does not get connected is held at once, and is out after a second and a half.
func TestRemoveParticipant_neverConnected(t *testing.T) {
	t.Parallel()
	c, server := newClient(t)
	room, identity := uuid.New(), "sip_bf97e33ee09d0e8d"
	// A WebSocket on which nothing is ever said.
	address := server.URL + "/rtc?protocol=15&access_token=" + callerToken(t, room, identity)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("join: %v, %v", res, err)
	}
	t.Cleanup(func() { res.Body.Close() })
	connecting(t, c, room, identity)
	start := time.Now()
	removed := make(chan error, 1)
	go func() { removed <- c.RemoveParticipant(context.WithoutCancel(t.Context()), room, identity) }()
	eventually(t, "the caller is held", func() bool {
		people, err := c.Participants(t.Context(), room)
		if err == nil && len(people) == 0 {
			t.Fatal("the caller is out, and was not held")
		}
		return err == nil && people[0].NoSubscribe && people[0].Attributes[meeting.AttributeLobby] == meeting.LobbyWaiting
	})
	held := time.Since(start)
	if err := <-removed; err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); held > connectWait || took < connectWait {
		t.Errorf("held after %v, removed after %v, want at once, and after %v", held, took, connectWait)
	}
	eventually(t, "the caller is out", func() bool {
		people, err := c.Participants(t.Context(), room)
		return err == nil && len(people) == 0
	})
}

// slowly is an address of LiveKit's at which what clients send arrives late, so that connecting takes a while.
func slowly(t *testing.T, address string, delay time.Duration) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	relay := func(client net.Conn) {
		defer client.Close()
		server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", u.Host)
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(client, server); client.Close() }()
		defer server.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := client.Read(buffer)
			if err != nil {
				return
			}
			time.Sleep(delay)
			if _, err := server.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go relay(client)
		}
	}()
	return "ws://" + listener.Addr().String()
}

// A client such as LiveKit's phone bridge hears at once that it was removed while it was connecting.
func TestRemoveParticipant_connecting(t *testing.T) {
	t.Parallel()
	c, server := newClient(t)
	room, identity := uuid.New(), "sip_bf97e33ee09d0e8d"
	over := make(chan struct{})
	go func() {
		defer close(over)
		gone := make(chan struct{})
		callback := lksdk.NewRoomCallback()
		callback.OnDisconnected = func() { close(gone) }
		r, err := lksdk.ConnectToRoomWithToken(
			slowly(t, server.URL, 300*time.Millisecond), callerToken(t, room, identity), callback, lksdk.WithAutoSubscribe(false))
		if err == nil {
			<-gone
			r.Disconnect()
		}
	}()
	connecting(t, c, room, identity)
	start := time.Now()
	if err := c.RemoveParticipant(t.Context(), room, identity); err != nil {
		t.Fatal(err)
	}
	<-over
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("the caller heard silence for %v after the removal", took)
	}
}
