package telephony

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/auditevent"
	"github.com/usher-meet/usher/gen/ent/pin"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
	"github.com/usher-meet/usher/server/meeting"
)

// quiet is a service without LiveKit, for rules about PINs alone: its trunks are those of the settings.
func quiet(t *testing.T, db *dbtx.DB, trunks ...string) *fixture {
	t.Helper()
	w := &fixture{t: t, log: &testenv.Log{}, trunks: trunks, gate: newGate(t, "http://127.0.0.1:1")}
	w.Service, w.client = w.replica(db)
	w.Trunks.LiveKit = knownTrunks(nil)
	for i := range w.Trunks.Configured {
		w.Trunks.Configured[i].Numbers = []string{numbers[i]}
	}
	return w
}

// knownTrunks are LiveKit's trunks as a test writes them down.
type knownTrunks []meeting.Trunk

func (k knownTrunks) InboundTrunks(context.Context) ([]meeting.Trunk, error) { return k, nil }

// write makes the next PINs those of the test.
func (w *fixture) write(pins ...string) { w.Random = &digits{pins: pins} }

func (w *fixture) mustDialIn(room uuid.UUID) *usherv1.DialIn {
	w.t.Helper()
	res, err := w.GetDialIn(as(w.t, nil), &usherv1.GetDialInRequest{Room: room.String()})
	if err != nil {
		w.t.Fatal(err)
	}
	return res.GetDialIn()
}

func TestRoomWithoutPinGetsOne(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 1)
		room := w.room(direct)
		if d, err := w.DialIns(t.Context(), &ent.Room{ID: room}); err != nil || len(d) != 0 {
			t.Errorf("before: %v, %v, want none", d, err)
		}
		// Looking at it draws it, once.
		d := w.mustDialIn(room)
		if !regexp.MustCompile(`^[0-9]{10}$`).MatchString(d.GetPin()) || d.GetPin() != w.pinOf(room) || w.mustDialIn(room).GetPin() != d.GetPin() {
			t.Errorf("PIN %q, stored %q", d.GetPin(), w.pinOf(room))
		}
		if n := d.GetNumbers(); len(n) != 1 || n[0].GetE164() != "+33123456789" || n[0].GetDisplay() != "+33 1 23 45 67 89" || n[0].GetCountry() != "FR" {
			t.Errorf("numbers %v", n)
		}
		// So does opening.
		opened := w.room(waiting)
		w.join(opened)
		if !w.mustOpen(opened).GetCreated() {
			t.Error("opening made no rule")
		}
		w.wantAccepted(opened, numbers[0], w.pinOf(opened))
		if got := w.roomCount(w.trunks[0]); got != 2 {
			t.Errorf("the trunk counts %d rooms, want 2", got)
		}
		all, err := w.DialIns(t.Context(), &ent.Room{ID: room}, &ent.Room{ID: opened}, &ent.Room{ID: w.room(direct)})
		if err != nil || len(all) != 2 || all[opened].GetPin() != w.pinOf(opened) {
			t.Errorf("dial-ins of three rooms, one without a PIN: %v, %v", len(all), err)
		}
		if _, err := w.GetDialIn(as(t, nil), &usherv1.GetDialInRequest{Room: uuid.NewString()}); !errors.Is(err, auth.ErrRoomNotFound) {
			t.Errorf("a room that is not there: %v", err)
		}
	})
}

func TestPinNamespaces(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := newFixture(t, db, 2)
		// Two rooms get the same PIN, each on a trunk of its own; the third has to draw again.
		w.write("0123456789", "0123456789", "0123456789", "9876543210")
		slices.Sort(w.trunks)
		var rooms []uuid.UUID
		for range 3 {
			room := w.room(direct)
			w.join(room)
			w.mustOpen(room)
			rooms = append(rooms, room)
		}
		for i, want := range []string{"0123456789", "0123456789", "9876543210"} {
			if got := w.pinOf(rooms[i]); got != want {
				t.Errorf("PIN of room %d: %s, want %s", i, got, want)
			}
		}
		number := map[string]string{}
		trunks, err := w.client.InboundTrunks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range trunks {
			number[l.ID] = l.Numbers[0]
		}
		first, second := number[w.trunks[0]], number[w.trunks[1]]
		w.wantAccepted(rooms[0], first, "0123456789")
		w.wantAccepted(rooms[1], second, "0123456789")
		w.wantAccepted(rooms[2], first, "9876543210")
		w.wantRefused(second, "9876543210", phone.ErrWrongPIN)
		w.wantRefused(first, "0000000000", phone.ErrWrongPIN)
		if got := w.counted("usher_pin_collisions_total", w.trunks[0]); got != 1 {
			t.Errorf("%v collisions were counted, want 1", got)
		}
	})
}

func TestPinQuarantine(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := quiet(t, db, "ST_a")
		ctx := t.Context()
		w.write("1111111111", "2222222222", "1111111111", "3333333333")
		rotated, deleted := w.room(direct), w.room(direct)
		w.mustDialIn(rotated)
		if _, err := w.RotatePin(as(t, w.owner(rotated)), &usherv1.RotatePinRequest{Room: rotated.String()}); err != nil {
			t.Fatal(err)
		}
		if got := w.mustDialIn(deleted).GetPin(); got != "3333333333" {
			t.Errorf("a room drew %s, want another one than that which was rotated", got)
		}
		w.deleteRoom(deleted)
		if n := w.roomCount("ST_a"); n != 2 {
			t.Errorf("before the sweep the trunk counts %d rooms, want 2", n)
		}
		for range 2 {
			if err := w.restLeftBehind(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if n := w.roomCount("ST_a"); n != 1 {
			t.Errorf("the trunk counts %d rooms, want 1", n)
		}
		w.write("3333333333", "1111111111", "4444444444")
		if got := w.mustDialIn(w.room(direct)).GetPin(); got != "4444444444" {
			t.Errorf("a room drew %s, which rests", got)
		}
		for _, p := range w.resting() {
			if rest := time.Until(*p.RestUntil); rest < 364*24*time.Hour || rest > 365*24*time.Hour {
				t.Errorf("a PIN rests for %v, want 365 days", rest)
			}
		}
		// A year later they may be drawn again.
		if err := w.CleanUp(ctx); err != nil || len(w.resting()) != 2 {
			t.Fatalf("a clean-up before that: %d rest, %v", len(w.resting()), err)
		}
		err := db.Run(ctx, func(tx *ent.Client) error {
			return tx.Pin.Update().Where(pin.RestUntilNotNil()).SetRestUntil(now().Add(-time.Second)).Exec(ctx)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.CleanUp(ctx); err != nil {
			t.Fatal(err)
		}
		w.write("1111111111")
		if got := w.mustDialIn(w.room(direct)).GetPin(); got != "1111111111" {
			t.Errorf("after a year a room drew %s, want 1111111111", got)
		}
	})
}

func TestDraw_exhausted(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := quiet(t, db, "ST_a")
		w.PINLength = 4
		taken := slices.Repeat([]string{"7777"}, maxDraws)
		w.write(append(slices.Clone(taken), "7778")...)
		w.mustDialIn(w.room(direct)) // the first 7777
		w.mustDialIn(w.room(direct)) // drawn at the last moment
		w.write(slices.Concat(taken, []string{"8888"})...)
		_, err := w.GetDialIn(as(t, nil), &usherv1.GetDialInRequest{Room: w.room(direct).String()})
		wantFault(t, err, ErrPINSpaceExhausted)
		if got := w.counted("usher_pin_collisions_total", "ST_a"); got != 2*maxDraws-1 {
			t.Errorf("%v collisions were counted, want %d", got, 2*maxDraws-1)
		}
		if n := w.roomCount("ST_a"); n != 2 {
			t.Errorf("the trunk counts %d rooms, want 2: draws that failed count nothing", n)
		}
	})
}

// Many draw at the same time, for the same rooms, from so few PINs that most draws collide: each room has one, no two rooms
// have the same, and the trunks have equally many.
func TestDraw_concurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := quiet(t, db, "ST_a", "ST_b", "ST_c")
		w.PINLength = 4
		w.Random = few{}
		const rooms, each = 30, 4
		var group sync.WaitGroup
		failures := make(chan error, rooms*each)
		var all []uuid.UUID
		for range rooms {
			room := w.room(direct)
			all = append(all, room)
			for range each {
				group.Go(func() {
					_, err := w.GetDialIn(as(t, nil), &usherv1.GetDialInRequest{Room: room.String()})
					failures <- err
				})
			}
		}
		group.Wait()
		close(failures)
		for err := range failures {
			if err != nil {
				t.Errorf("a draw failed: %v", err)
			}
		}
		seen := map[string]bool{}
		for _, room := range all {
			p, err := currentPIN(t.Context(), db.Read, room)
			if err != nil || p == nil {
				t.Fatalf("PIN of %s: %v, %v", room, p, err)
			}
			if key := p.TrunkID + p.Pin; seen[key] {
				t.Errorf("two rooms have %s", key)
			} else {
				seen[key] = true
			}
		}
		for _, id := range w.trunks {
			if n := w.roomCount(id); n != rooms/3 {
				t.Errorf("trunk %s has %d rooms, want %d", id, n, rooms/3)
			}
		}
		if n, err := db.Read.Pin.Query().Count(t.Context()); err != nil || n != rooms {
			t.Errorf("%d PINs are stored, %v, want %d", n, err, rooms)
		}
	})
}

// few is a source of 40 PINs.
type few struct{}

func (few) Read(p []byte) (int, error) {
	n, err := rand.Read(p)
	for i := range p {
		switch i % 4 {
		case 0, 1:
			p[i] = 0
		case 2:
			p[i] %= 4
		}
	}
	return n, err
}

// A room keeps its PIN when no trunk has its line any more, and when another trunk has its numbers, it works again.
func TestTrunkLeavesTheSettings(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := quiet(t, db, "ST_a", "ST_b")
		room, other := w.room(direct), w.room(direct)
		before, there := w.mustDialIn(room), w.mustDialIn(other)
		if before.GetNumbers()[0].GetE164() != numbers[0] {
			room, other, before, there = other, room, there, before
		}
		left := quiet(t, db, "ST_x", "ST_b")
		left.Trunks.Configured = left.Trunks.Configured[1:]
		if _, err := left.GetDialIn(as(t, nil), &usherv1.GetDialInRequest{Room: room.String()}); !errors.Is(err, ErrDisabled) {
			t.Errorf("a room whose line has no trunk: %v, want %v", err, ErrDisabled)
		}
		if d, err := left.DialIns(t.Context(), &ent.Room{ID: room}); err != nil || len(d) != 0 {
			t.Errorf("the PIN of a line that has no trunk is shown: %v, %v", d, err)
		}
		if d := left.mustDialIn(other); d.GetPin() != there.GetPin() {
			t.Errorf("the room of the trunk that stays has another PIN")
		}
		if !strings.Contains(left.log.String(), "WARN") || !strings.Contains(left.log.String(), "PINs of 1 rooms open nothing") {
			t.Errorf("the log does not warn: %s", left.log)
		}
		back := quiet(t, db, "ST_c", "ST_b")
		if d := back.mustDialIn(room); !proto.Equal(d, before) {
			t.Errorf("another trunk with the same number: %v, want %v", d, before)
		}
		if len(w.resting()) != 0 || db.Read.AuditEvent.Query().CountX(t.Context()) != 0 {
			t.Errorf("%d PINs rest, want none: no PIN was drawn anew", len(w.resting()))
		}
	})
}

func TestRotatePin_refused(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		w := quiet(t, db, "ST_a")
		room := w.room(direct)
		owner, before := w.owner(room), w.mustDialIn(room).GetPin()
		rotate := func(ctx context.Context) error {
			_, err := w.RotatePin(ctx, &usherv1.RotatePinRequest{Room: room.String()})
			return err
		}
		wantFault(t, rotate(as(t, w.owner(w.room(direct)))), auth.ErrInsufficientRole)
		w.setPolicy(room, refused)
		wantFault(t, rotate(as(t, owner)), ErrDisabled)
		w.setPolicy(room, direct)
		if got := w.pinOf(room); got != before {
			t.Errorf("PIN %s, want %s", got, before)
		}
		if err := rotate(as(t, owner)); err != nil || w.pinOf(room) == before {
			t.Errorf("the owner: %v, PIN %s", err, w.pinOf(room))
		}
		events, err := db.Read.AuditEvent.Query().Where(auditevent.RoomID(room)).All(t.Context())
		if err != nil || len(events) != 1 || events[0].Action != "pin.rotated" || *events[0].ActorUserID != owner.ID {
			t.Errorf("events %v, %v, want one pin.rotated by the owner", events, err)
		}
		// PINs are in no log.
		for _, p := range append(w.resting(), &ent.Pin{Pin: w.pinOf(room)}) {
			if regexp.MustCompile(p.Pin).MatchString(w.log.String()) {
				t.Errorf("a PIN is in the log:\n%s", w.log)
			}
		}
	})
}

// Each digit is as likely as the others, in each place.
func TestRandomPIN(t *testing.T) {
	t.Parallel()
	s := &Service{PINLength: 10, Random: &digits{}}
	count := map[string]int{}
	const draws = 20_000
	for range draws {
		p, err := s.randomPIN()
		if err != nil || len(p) != 10 {
			t.Fatalf("%q, %v", p, err)
		}
		for place, digit := range p {
			count[fmt.Sprintf("%c at %d", digit, place)]++
		}
	}
	if len(count) != 100 {
		t.Errorf("%d of 100 digits and places came up", len(count))
	}
	// 2,000 are expected; a deviation by 8 times the standard one comes once in 10^15.
	for what, n := range count {
		if n < 1660 || n > 2340 {
			t.Errorf("%s came up %d times in %d, want about 2000", what, n, draws)
		}
	}
}

func TestDisplayPIN(t *testing.T) {
	t.Parallel()
	for pin, want := range map[string]string{
		"1234": "1234#", "12345": "123 45#", "123456": "123 456#", "1234567": "123 4567#", "12345678": "123 456 78#",
		"123456789": "123 456 789#", "1234567890": "123 456 7890#", "1234567890123456": "123 456 789 012 3456#",
	} {
		if got := displayPIN(pin); got != want {
			t.Errorf("displayPIN(%s) = %q, want %q", pin, got, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"+33123456789": "+33123456789", "+33 1 23 45 67 89": "+33123456789", "+1 (202) 555-0143": "+12025550143",
		"0123456789": "", "+3312345": "", "": "", "+999123456789": "",
	} {
		got, err := ParseNumber(text)
		if got != want || (err == nil) != (got != "") {
			t.Errorf("ParseNumber(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	n := numberView("+33123456789", true)
	if n.GetDisplay() != "01 23 45 67 89" || n.GetCountry() != "FR" {
		t.Errorf("in national form: %v", n)
	}
	if n := numberView("+12025550143", false); n.GetDisplay() != "+1 202-555-0143" || n.GetCountry() != "US" {
		t.Errorf("in international form: %v", n)
	}
	if n := numberView("+870773111632", false); n.GetCountry() != "" {
		t.Errorf("a satellite's number has the country %q", n.GetCountry())
	}
}
