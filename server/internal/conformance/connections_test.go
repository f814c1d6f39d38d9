//go:build conformance

package conformance

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/livekit/protocol/auth"
	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/twitchtv/twirp"

	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
)

var connectionFacts = []fact{
	{
		"A token is taken for at most a minute longer than it says",
		"repeats decisions until no token of before them is left, and counts this minute", tokenLeeway,
	},
	{
		"The token that LiveKit itself hands to who connects is good for ten minutes, or as long as the one they came with",
		"repeats decisions for that time after somebody came back", tokenHanded,
	},
	{
		"Who joins with an identity that is in use puts the other one out, with DUPLICATE_IDENTITY",
		"one identity is one participant; two callers with one number cannot both be there", identityTaken,
	},
	{
		"Who is removed is disconnected with PARTICIPANT_REMOVED, and comes back with the token that they had",
		"removes them again whenever they are told of", removedComesBack,
	},
	{
		"Removing or changing somebody who is not there is not_found",
		"takes a removal that has nothing to do for done", nobodyChanged,
	},
	{
		"A token with another secret, or of another key, is refused with unauthenticated or permission_denied",
		"`usher doctor` tells a wrong key from a LiveKit that is down", wrongKey,
	},
	{
		"The token of a participant opens nothing of LiveKit's API",
		"gives every token to browsers", tokenOpensNothing,
	},
	{
		"LiveKit answers without a token at /, and tells the time",
		"`usher doctor` compares clocks, and load balancers reach it", clockTold,
	},
	{
		"Pages of other sites may ask /rtc/validate and /rtc/v1/validate why a connection was refused",
		"lets its pages ask there, and nowhere else", whyRefused,
	},
}

// aged is a token whose time was over some time ago.
func aged(t *testing.T, room, identity string, ago time.Duration) string {
	t.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token(t, room, identity), claims); err != nil {
		t.Fatal(err)
	}
	claims["nbf"], claims["iat"] = time.Now().Add(-time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	claims["exp"] = time.Now().Add(-ago).Unix()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(testenv.LiveKitSecret))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func tokenLeeway(t *testing.T, f *fixture) {
	room := newRoom()
	if s, err := f.trySignal(t, aged(t, room, "late", 70*time.Second)); err == nil {
		t.Errorf("70 s after its end a token is taken: %v", s.joined(t))
	}
	// That it is taken at all is no promise of LiveKit's, but what Usher counts with.
	if _, err := f.trySignal(t, aged(t, room, "ada", 30*time.Second)); err != nil {
		t.Errorf("30 s after its end a token is refused: %v", err)
	}
}

func tokenHanded(t *testing.T, f *fixture) {
	for _, own := range []time.Duration{2 * time.Minute, 30 * time.Minute} {
		s := f.signal(t, token(t, newRoom(), "ada", func(access *auth.AccessToken, _ *auth.VideoGrant) { access.SetValidFor(own) }))
		handed := s.await(t, "another token", func(m *livekit.SignalResponse) bool { return m.GetRefreshToken() != "" })
		claims := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(handed.GetRefreshToken(), claims); err != nil {
			t.Fatal(err)
		}
		end, err := claims.GetExpirationTime()
		if err != nil {
			t.Fatal(err)
		}
		if life, limit := time.Until(end.Time), max(own, 10*time.Minute); life > limit+5*time.Second || life < time.Minute {
			t.Errorf("after a token of %v LiveKit hands out one of %v, want at most %v", own, life, limit)
		}
	}
}

func identityTaken(t *testing.T, f *fixture) {
	room := newRoom()
	first := f.join(t, room, "ada")
	f.join(t, room, "ada")
	first.WaitGone()
	if got := first.Room.DisconnectReason(); got != livekit.DisconnectReason_DUPLICATE_IDENTITY {
		t.Errorf("the first connection ended with %v", got)
	}
	if f.person(t, room, "ada") == nil {
		t.Error("nobody is left")
	}
}

func removedComesBack(t *testing.T, f *fixture) {
	room := newRoom()
	f.join(t, room, "grace")
	ticket := token(t, room, "ada")
	ada := participant.Join(t, f.lk.URL, ticket)
	if err := f.remove(t, room, "ada"); err != nil {
		t.Fatal(err)
	}
	ada.WaitGone()
	if got := ada.Room.DisconnectReason(); got != livekit.DisconnectReason_PARTICIPANT_REMOVED {
		t.Errorf("the connection ended with %v", got)
	}
	if f.person(t, room, "grace") == nil {
		t.Error("another one is gone, too")
	}
	participant.Join(t, f.lk.URL, ticket)
	eventually(t, "Ada is back", func() bool {
		return f.person(t, room, "ada").GetState() == livekit.ParticipantInfo_ACTIVE
	})
	if got := f.receiver.await(t, room, "participant_joined", 3).GetParticipant().GetIdentity(); got != "ada" {
		t.Errorf("the last one who is told of is %s", got)
	}
}

// remove ends the connection of somebody.
func (f *fixture) remove(t *testing.T, room, identity string) error {
	t.Helper()
	_, err := f.rooms.RemoveParticipant(t.Context(), &livekit.RoomParticipantIdentity{Room: room, Identity: identity})
	return err
}

func nobodyChanged(t *testing.T, f *fixture) {
	room := newRoom()
	f.join(t, room, "ada")
	for _, where := range []string{room, newRoom()} {
		wantCode(t, "removing nobody", f.remove(t, where, "nobody"), twirp.NotFound)
		_, err := f.rooms.UpdateParticipant(t.Context(), &livekit.UpdateParticipantRequest{
			Room: where, Identity: "nobody", Attributes: map[string]string{"room_role": "OWNER"},
		})
		wantCode(t, "changing nobody", err, twirp.NotFound)
	}
}

func wrongKey(t *testing.T, f *fixture) {
	for name, client := range map[string]*lksdk.RoomServiceClient{
		"another secret": lksdk.NewRoomServiceClient(f.lk.URL, testenv.LiveKitKey, "test-another-secret-of-32-characters"),
		"another key":    lksdk.NewRoomServiceClient(f.lk.URL, "test-unknown", testenv.LiveKitSecret),
	} {
		_, err := client.ListRooms(t.Context(), &livekit.ListRoomsRequest{})
		wantCode(t, name, err, twirp.Unauthenticated, twirp.PermissionDenied)
	}
}

func tokenOpensNothing(t *testing.T, f *fixture) {
	room := newRoom()
	ticket := token(t, room, "ada")
	participant.Join(t, f.lk.URL, ticket)
	ctx, err := twirp.WithHTTPRequestHeaders(t.Context(), http.Header{"Authorization": {"Bearer " + ticket}})
	if err != nil {
		t.Fatal(err)
	}
	rooms := livekit.NewRoomServiceProtobufClient(f.lk.URL, http.DefaultClient)
	sip := livekit.NewSIPProtobufClient(f.lk.URL, http.DefaultClient)
	egress := livekit.NewEgressProtobufClient(f.lk.URL, http.DefaultClient)
	who := &livekit.RoomParticipantIdentity{Room: room, Identity: "ada"}
	for name, call := range map[string]func(context.Context) error{
		"list rooms": func(ctx context.Context) error {
			_, err := rooms.ListRooms(ctx, &livekit.ListRoomsRequest{})
			return err
		},
		"delete room": func(ctx context.Context) error {
			_, err := rooms.DeleteRoom(ctx, &livekit.DeleteRoomRequest{Room: room})
			return err
		},
		"list people": func(ctx context.Context) error {
			_, err := rooms.ListParticipants(ctx, &livekit.ListParticipantsRequest{Room: room})
			return err
		},
		"remove": func(ctx context.Context) error { _, err := rooms.RemoveParticipant(ctx, who); return err },
		"change": func(ctx context.Context) error {
			_, err := rooms.UpdateParticipant(ctx, &livekit.UpdateParticipantRequest{Room: room, Identity: "ada", Name: "Owner"})
			return err
		},
		"send": func(ctx context.Context) error {
			_, err := rooms.SendData(ctx, &livekit.SendDataRequest{Room: room})
			return err
		},
		"list trunks": func(ctx context.Context) error {
			_, err := sip.ListSIPInboundTrunk(ctx, &livekit.ListSIPInboundTrunkRequest{})
			return err
		},
		"list recordings": func(ctx context.Context) error {
			_, err := egress.ListEgress(ctx, &livekit.ListEgressRequest{RoomName: room})
			return err
		},
		"record": func(ctx context.Context) error {
			_, err := egress.StartRoomCompositeEgress(ctx, &livekit.RoomCompositeEgressRequest{RoomName: room})
			return err
		},
	} {
		wantCode(t, name, call(ctx), twirp.Unauthenticated, twirp.PermissionDenied)
	}
}

func clockTold(t *testing.T, f *fixture) {
	res, err := http.Get(f.lk.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if told, err := http.ParseTime(res.Header.Get("Date")); res.StatusCode != http.StatusOK || err != nil ||
		time.Since(told).Abs() > time.Minute {
		t.Errorf("the answer is %s, with the time %v, %v", res.Status, told, err)
	}
}

func whyRefused(t *testing.T, f *fixture) {
	for _, path := range []string{"/rtc/validate", "/rtc/v1/validate"} {
		old := url.Values{"access_token": {aged(t, newRoom(), "ada", time.Hour)}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.lk.URL+path+"?"+old.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://meet.example.org")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		why, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusUnauthorized || len(why) == 0 ||
			res.Header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("%s: %s, %q, %v, with %v", path, res.Status, why, err, res.Header)
		}
	}
}
