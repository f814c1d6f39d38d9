package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/usher-meet/usher/gen/ent/pin"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
	"github.com/usher-meet/usher/server/settings"
)

// A room's way by phone, from the settings to LiveKit's real evaluation of a call: who sees it, when it opens, and how it
// follows the room.
func TestDialIn(t *testing.T) {
	t.Parallel()
	listen, webhook := listenForWebhooks(t)
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t), Webhooks: []string{webhook}})
	bridge := phone.New(t, lk)
	bridge.Trunk("test", "+33123456789")
	i := startOn(t, lk, func(c *settings.Config) { c.Listen = listen; c.Telephony.Sweep = time.Hour })
	ctx := t.Context()
	olga, stranger := i.clients(bearer(i.apiToken(i.user("Olga Of Phones"), "rooms", "read"))), i.clients()

	room := must[*usherv1.CreateRoomResponse](t)(olga.CreateRoom(ctx, &usherv1.CreateRoomRequest{
		Name: "By phone", AccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED,
	})).GetRoom()
	id := room.GetId()
	get := func(c *clients) *usherv1.DialIn {
		return must[*usherv1.GetRoomResponse](t)(c.GetRoom(ctx, &usherv1.GetRoomRequest{Room: id})).GetRoom().GetDialIn()
	}
	if d := get(olga); d != nil {
		t.Errorf("GetRoom drew a PIN: %v", d.GetNumbers())
	}
	_, err := stranger.GetDialIn(ctx, &usherv1.GetDialInRequest{Room: id})
	wantReason(t, err, "LOBBY_REQUIRED")
	d := must[*usherv1.GetDialInResponse](t)(olga.GetDialIn(ctx, &usherv1.GetDialInRequest{Room: room.GetSlug()})).GetDialIn()
	if len(d.GetPin()) != 9 || !strings.HasSuffix(d.GetPinDisplay(), "#") || d.GetNumbers()[0].GetCountry() != "FR" {
		t.Errorf("%d digits, numbers %v", len(d.GetPin()), d.GetNumbers())
	}
	join := must[*usherv1.JoinRoomResponse](t)(olga.JoinRoom(ctx, &usherv1.JoinRoomRequest{Room: id}))
	list := must[*usherv1.ListRoomsResponse](t)(olga.ListRooms(ctx, &usherv1.ListRoomsRequest{}))
	if get(olga).GetPin() != d.GetPin() || join.GetDialIn().GetPin() != d.GetPin() || list.GetRooms()[0].GetDialIn().GetPin() != d.GetPin() {
		t.Error("GetRoom, JoinRoom and ListRooms do not show the same PIN")
	}
	if get(stranger) != nil {
		t.Error("somebody who has to wait is shown the PIN")
	}
	config := must[*usherv1.GetConfigResponse](t)(stranger.GetConfig(ctx, &usherv1.GetConfigRequest{})).GetConfig().GetTelephony()
	if !config.GetEnabled() || !slices.Equal(config.GetCountries(), []string{"FR"}) {
		t.Errorf("telephony for clients: %v", config)
	}

	// It opens when somebody comes, follows the policy, the PIN and the people, and goes with the room.
	call := func() string {
		t.Helper()
		in, _, err := bridge.Ask("+33600000001", "+33123456789", get(olga).GetPin())
		if err != nil {
			return err.Error()
		}
		return in
	}
	eventually := func(what, want string) {
		t.Helper()
		got := ""
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if got = call(); got == want {
				return
			}
		}
		t.Fatalf("%s: a call gets %q, want %q", what, got, want)
	}
	if got := call(); got != phone.ErrNoAnswer.Error() {
		t.Errorf("before the meeting a call gets %q", got)
	}
	ada, _ := i.join(t, olga, id)
	eventually("somebody is there", id)
	set := func(policy usherv1.PhonePolicy) {
		t.Helper()
		must[*usherv1.UpdateRoomResponse](t)(olga.UpdateRoom(ctx, &usherv1.UpdateRoomRequest{
			Room:       &usherv1.Room{Id: id, Configuration: &usherv1.RoomConfiguration{PhonePolicy: policy}},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"configuration.phone_policy"}},
		}))
	}
	set(usherv1.PhonePolicy_PHONE_POLICY_REFUSE)
	for deadline := time.Now().Add(30 * time.Second); len(bridge.Rules()) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a room that refuses callers has the rule %+v", bridge.Rules())
		}
	}
	if get(olga) != nil {
		t.Error("a room that refuses callers shows a PIN")
	}
	set(usherv1.PhonePolicy_PHONE_POLICY_DIRECT)
	eventually("callers are wanted again", id)
	rotated := must[*usherv1.RotatePinResponse](t)(olga.RotatePin(ctx, &usherv1.RotatePinRequest{Room: id})).GetDialIn()
	if _, _, err := bridge.Ask("+33600000001", "+33123456789", d.GetPin()); err == nil || rotated.GetPin() == d.GetPin() || call() != id {
		t.Errorf("after a rotation the PIN before gets %v, and the new one %q", err, call())
	}
	ada.Room.Disconnect()
	eventually("everybody left", phone.ErrNoAnswer.Error())
	i.join(t, olga, id)
	eventually("the next meeting", id)
	must[*usherv1.DeleteRoomResponse](t)(olga.DeleteRoom(ctx, &usherv1.DeleteRoomRequest{Room: id}))
	for deadline := time.Now().Add(30 * time.Second); len(bridge.Rules()) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a room that is gone has the rule %+v", bridge.Rules())
		}
	}
	if n, err := i.DB.Read.Pin.Query().Where(pin.RoomID(uuid.MustParse(id))).Count(ctx); n != 0 || err != nil {
		t.Errorf("%d PINs of the room are left, %v", n, err)
	}
	for _, secret := range []string{d.GetPin(), rotated.GetPin()} {
		if strings.Contains(fmt.Sprint(i.log), secret) {
			t.Error("a PIN is in the log")
		}
	}
}
