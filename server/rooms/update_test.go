package rooms

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/livetask"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
)

func TestUpdateRoom(t *testing.T) {
	t.Parallel()
	configuration := &usherv1.RoomConfiguration{RestrictSources: true, CanPublishSources: []usherv1.TrackSource{camera}}
	tests := []struct {
		name  string
		room  *usherv1.Room
		paths []string
		want  func(*usherv1.Room)
		syncs int
	}{
		{"a new name", &usherv1.Room{Name: " New \u202e name "}, nil, func(r *usherv1.Room) { r.Name = "New name" }, 0},
		{
			"fields that are set", &usherv1.Room{Name: "New", AccessLevel: public}, nil,
			func(r *usherv1.Room) { r.Name, r.AccessLevel = "New", public }, 1,
		},
		{
			"only what is named", &usherv1.Room{Name: "New", AccessLevel: public},
			[]string{"access_level"},
			func(r *usherv1.Room) { r.AccessLevel = public }, 1,
		},
		{"an access level reset", &usherv1.Room{}, []string{"access_level"}, func(r *usherv1.Room) { r.AccessLevel = trusted }, 1},
		{
			"a configuration reset", &usherv1.Room{},
			[]string{"configuration"},
			func(r *usherv1.Room) { r.Configuration = &usherv1.RoomConfiguration{} }, 1,
		},
		{
			"one setting", &usherv1.Room{Configuration: &usherv1.RoomConfiguration{EveryoneCanMute: proto.Bool(false)}},
			[]string{"configuration.everyone_can_mute"},
			func(r *usherv1.Room) { r.Configuration.EveryoneCanMute = proto.Bool(false) }, 1,
		},
		{
			"one setting reset", &usherv1.Room{},
			[]string{"configuration.restrict_sources"},
			func(r *usherv1.Room) { r.Configuration.RestrictSources = false }, 1,
		},
		{"nothing", &usherv1.Room{Slug: "other", MyRole: owner}, nil, nil, 0},
	}
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		for _, tt := range tests {
			before := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{Name: "Old", AccessLevel: restricted, Configuration: configuration})
			mustMember(t, s, before, bob, administrator)
			asked := proto.CloneOf(tt.room) // the table is shared
			asked.Id = before.GetSlug()
			var m *fieldmaskpb.FieldMask
			if tt.paths != nil {
				m = &fieldmaskpb.FieldMask{Paths: tt.paths}
			}
			res, err := s.UpdateRoom(as(t, bob), &usherv1.UpdateRoomRequest{Room: asked, UpdateMask: m})
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			want := proto.CloneOf(before)
			want.MyRole = administrator
			if tt.want != nil {
				tt.want(want)
			}
			if diff := cmp.Diff(want, res.GetRoom(), protocmp.Transform(), protocmp.IgnoreFields(want, "etag", "update_time")); diff != "" {
				t.Errorf("%s: -want +got\n%s", tt.name, diff)
			}
			if changed := res.GetRoom().GetEtag() != before.GetEtag(); changed != (tt.want != nil) {
				t.Errorf("%s: etag changed: %t", tt.name, changed)
			}
			read, err := s.GetRoom(as(t, bob), &usherv1.GetRoomRequest{Room: before.GetId()})
			if diff := cmp.Diff(res.GetRoom(), read.GetRoom(), protocmp.Transform()); diff != "" || err != nil {
				t.Errorf("%s: read back: %v -want +got\n%s", tt.name, err, diff)
			}
			tasks := db.Read.LiveTask.Query().Where(livetask.RoomID(uuid.MustParse(before.GetId())), livetask.KindEQ(livetask.KindSyncRoom)).CountX(t.Context())
			if tasks != tt.syncs {
				t.Errorf("%s: %d tasks, want %d", tt.name, tasks, tt.syncs)
			}
		}
	})
}

// A field that is reset takes the default of whoever resets it, as a new room of theirs would.
func TestUpdateRoom_resetsToTheCallersDefault(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		s.Defaults.AccessLevel = public
		own := &usherv1.RoomConfiguration{EveryoneCanMute: proto.Bool(true)}
		alice := must(t, db, func(tx *ent.Client) (*ent.User, error) {
			return tx.User.Create().SetFullName("Alice").SetDefaultAccessLevel(trusted).SetDefaultConfiguration(own).Save(t.Context())
		})
		bob := mustUser(t, db, "Bob")
		for _, tt := range []struct {
			name   string
			caller *ent.User
			level  usherv1.AccessLevel
			config *usherv1.RoomConfiguration
		}{
			{"a caller with defaults", alice, trusted, own},
			{"a caller without", bob, public, nil},
		} {
			room := mustRoom(t, s, tt.caller, &usherv1.CreateRoomRequest{
				AccessLevel:   restricted,
				Configuration: &usherv1.RoomConfiguration{EveryoneCanMute: proto.Bool(!tt.config.GetEveryoneCanMute())},
			})
			res, err := s.UpdateRoom(as(t, tt.caller), &usherv1.UpdateRoomRequest{
				Room: &usherv1.Room{Id: room.GetId()}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"access_level", "configuration"}},
			})
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if got := res.GetRoom().GetAccessLevel(); got != tt.level {
				t.Errorf("%s: access level %v, want %v", tt.name, got, tt.level)
			}
			if got := res.GetRoom().GetConfiguration(); got.GetEveryoneCanMute() != tt.config.GetEveryoneCanMute() {
				t.Errorf("%s: configuration %v, want %v", tt.name, got, tt.config)
			}
		}
		plain := mustRoom(t, s, bob, &usherv1.CreateRoomRequest{})
		mustMember(t, s, plain, alice, administrator)
		res, err := s.UpdateRoom(as(t, alice), &usherv1.UpdateRoomRequest{Room: &usherv1.Room{Id: plain.GetId(), Name: "Renamed"}})
		if err != nil || res.GetRoom().GetConfiguration().GetEveryoneCanMute() {
			t.Errorf("a new name: %v, %v, want the configuration as it was", res, err)
		}
	})
}

func TestUpdateRoom_refuses(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		target := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{Name: "Old", AccessLevel: public})
		mustMember(t, s, target, bob, plainMember)
		id := target.GetId()
		tests := []struct {
			name   string
			caller context.Context
			room   *usherv1.Room
			paths  []string
			want   *fault.Error
			meta   map[string]string
		}{
			{"a stranger", as(t, nil), &usherv1.Room{Id: id, Name: "New"}, nil, auth.ErrInsufficientRole, map[string]string{"required_role": "ADMINISTRATOR"}},
			{"a member", as(t, bob), &usherv1.Room{Id: id, Name: "New"}, nil, auth.ErrInsufficientRole, map[string]string{"required_role": "ADMINISTRATOR"}},
			{"a stranger with an unknown field", as(t, nil), &usherv1.Room{Id: id}, []string{"slug"}, fault.ErrInvalid, map[string]string{"field": "update_mask"}},
			{"no such room", as(t, alice), &usherv1.Room{Id: "nothing", Name: "New"}, nil, auth.ErrRoomNotFound, nil},
			{"no room", as(t, alice), &usherv1.Room{Name: "New"}, nil, fault.ErrInvalid, map[string]string{"field": "room.id"}},
			{"a stale etag", as(t, alice), &usherv1.Room{Id: id, Name: "New", Etag: "stale"}, nil, fault.ErrConflict, nil},
			{"the slug", as(t, alice), &usherv1.Room{Id: id, Slug: "new"}, []string{"slug"}, fault.ErrInvalid, map[string]string{"field": "update_mask"}},
			{"an unknown field", as(t, alice), &usherv1.Room{Id: id}, []string{"name", "colour"}, fault.ErrInvalid, map[string]string{"field": "update_mask"}},
			{"an unknown setting", as(t, alice), &usherv1.Room{Id: id}, []string{"configuration.colour"}, fault.ErrInvalid, map[string]string{"field": "update_mask"}},
			{"a name reset", as(t, alice), &usherv1.Room{Id: id}, []string{"name"}, fault.ErrInvalid, map[string]string{"field": "room.name"}},
			{"a blank name", as(t, alice), &usherv1.Room{Id: id, Name: " \u200f\t"}, nil, fault.ErrInvalid, map[string]string{"field": "room.name"}},
		}
		for _, tt := range tests {
			_, err := s.UpdateRoom(tt.caller, &usherv1.UpdateRoomRequest{Room: tt.room, UpdateMask: &fieldmaskpb.FieldMask{Paths: tt.paths}})
			if diff := cmp.Diff(tt.meta, wantFault(t, err, tt.want)); diff != "" {
				t.Errorf("%s: metadata: -want +got\n%s", tt.name, diff)
			}
			if tt.name == "an unknown field" && !strings.Contains(err.Error(), "colour") {
				t.Errorf("%v does not name the path", err)
			}
		}
		read, err := s.GetRoom(as(t, alice), &usherv1.GetRoomRequest{Room: id})
		if diff := cmp.Diff(target, read.GetRoom(), protocmp.Transform()); diff != "" || err != nil {
			t.Errorf("%v; -before +after\n%s", err, diff)
		}
		if n := db.Read.LiveTask.Query().CountX(t.Context()); n != 0 {
			t.Errorf("%d tasks after refusals", n)
		}
	})
}

// TestUpdateRoom_etagConcurrent: of several changes to one version, one is made.
func TestUpdateRoom_etagConcurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		target := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{Name: "Old"})
		_, errs := inParallel(8, func(int) (*usherv1.UpdateRoomResponse, error) {
			return s.UpdateRoom(as(t, alice), &usherv1.UpdateRoomRequest{Room: &usherv1.Room{Id: target.GetId(), Name: "New", Etag: target.GetEtag()}})
		})
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else {
				wantFault(t, err, fault.ErrConflict)
			}
		}
		if won != 1 {
			t.Errorf("%d changes to one version", won)
		}
	})
}

// TestUpdateRoom_settingsConcurrent: changes to different settings without etag lose nothing.
func TestUpdateRoom_settingsConcurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		target := mustRoom(t, s, alice, &usherv1.CreateRoomRequest{Name: "Old"})
		full := &usherv1.RoomConfiguration{
			RestrictSources: true, EveryoneCanMute: proto.Bool(false), PhonePolicy: usherv1.PhonePolicy_PHONE_POLICY_REFUSE,
			CanPublishSources: []usherv1.TrackSource{camera},
		}
		paths := []string{"restrict_sources", "everyone_can_mute", "phone_policy", "can_publish_sources"}
		_, errs := inParallel(len(paths), func(i int) (*usherv1.UpdateRoomResponse, error) {
			return s.UpdateRoom(as(t, alice), &usherv1.UpdateRoomRequest{
				Room: &usherv1.Room{Id: target.GetId(), Configuration: full}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"configuration." + paths[i]}},
			})
		})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		got := must(t, db, func(tx *ent.Client) (*ent.Room, error) { return tx.Room.Query().Only(t.Context()) })
		if diff := cmp.Diff(full, got.Configuration, protocmp.Transform()); diff != "" || got.Version != 5 {
			t.Errorf("version %d; -want +got\n%s", got.Version, diff)
		}
	})
}
