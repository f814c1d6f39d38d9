package mask

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/fault"
)

const (
	public  = usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC
	trusted = usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED
	camera  = usherv1.TrackSource_TRACK_SOURCE_CAMERA
)

var fields = []string{"name", "access_level", "configuration"}

func stored() *usherv1.Room {
	return &usherv1.Room{Id: "1", Name: "old", AccessLevel: public, Configuration: &usherv1.RoomConfiguration{
		RestrictSources: true, CanPublishSources: []usherv1.TrackSource{camera}, EveryoneCanMute: proto.Bool(false),
	}}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		src     *usherv1.Room
		paths   []string
		want    func(*usherv1.Room)
		changed []string
	}{
		{"no mask, one field set", &usherv1.Room{Id: "2", Name: "new"}, nil, func(r *usherv1.Room) { r.Name = "new" }, []string{"name"}},
		{"no mask, nothing set", &usherv1.Room{Id: "2", Etag: "x"}, nil, nil, nil},
		{
			"no mask, an empty message set", &usherv1.Room{Configuration: &usherv1.RoomConfiguration{}}, nil,
			func(r *usherv1.Room) { r.Configuration = &usherv1.RoomConfiguration{} },
			[]string{"configuration"},
		},
		{
			"only what is named", &usherv1.Room{Name: "new", AccessLevel: trusted},
			[]string{"access_level"},
			func(r *usherv1.Room) { r.AccessLevel = trusted },
			[]string{"access_level"},
		},
		{
			"named without a value", &usherv1.Room{},
			[]string{"configuration", "access_level"},
			func(r *usherv1.Room) { r.Configuration, r.AccessLevel = nil, 0 },
			[]string{"access_level", "configuration"},
		},
		{
			"one level below", &usherv1.Room{Configuration: &usherv1.RoomConfiguration{EveryoneCanMute: proto.Bool(true)}},
			[]string{"configuration.everyone_can_mute"},
			func(r *usherv1.Room) { r.Configuration.EveryoneCanMute = proto.Bool(true) },
			[]string{"configuration"},
		},
		{
			"one level below without a value", &usherv1.Room{},
			[]string{"configuration.everyone_can_mute", "configuration.can_publish_sources"},
			func(r *usherv1.Room) { r.Configuration = &usherv1.RoomConfiguration{RestrictSources: true} },
			[]string{"configuration"},
		},
		{
			"a list", &usherv1.Room{Configuration: &usherv1.RoomConfiguration{CanPublishSources: []usherv1.TrackSource{2, 3}}},
			[]string{"configuration.can_publish_sources"},
			func(r *usherv1.Room) { r.Configuration.CanPublishSources = []usherv1.TrackSource{2, 3} },
			[]string{"configuration"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, want := stored(), stored()
			if tt.want != nil {
				tt.want(want)
			}
			changed, err := Merge(got, tt.src, &fieldmaskpb.FieldMask{Paths: tt.paths}, fields...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if strings.Join(changed, " ") != strings.Join(tt.changed, " ") {
				t.Errorf("changed %q, want %q", changed, tt.changed)
			}
		})
	}
}

func TestMerge_intoAbsentMessage(t *testing.T) {
	t.Parallel()
	dst := &usherv1.Room{}
	src := &usherv1.Room{Configuration: &usherv1.RoomConfiguration{RestrictSources: true}}
	if _, err := Merge(dst, src, &fieldmaskpb.FieldMask{Paths: []string{"configuration.restrict_sources"}}, fields...); err != nil {
		t.Fatal(err)
	}
	src.Configuration.RestrictSources = false
	if !dst.GetConfiguration().GetRestrictSources() {
		t.Error("restrict_sources is not set, or shared with the request")
	}
}

func TestMerge_refusesPath(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"", "slug", "etag", "*", "nothing", "name.x", "configuration.", "configuration.nothing", "configuration.phone_policy.x",
		".name", "Name", strings.Repeat("x", 1000),
	} {
		got := stored()
		_, err := Merge(got, &usherv1.Room{Name: "new"}, &fieldmaskpb.FieldMask{Paths: []string{"name", path}}, fields...)
		fe, ok := errors.AsType[*fault.Error](err)
		if !ok || !errors.Is(err, fault.ErrInvalid) || fe.Meta["field"] != "update_mask" || len(fe.Message) > 200 {
			t.Errorf("Merge with %.20q: %v", path, err)
			continue
		}
		if len(path) < 100 && !strings.Contains(fe.Message, `"`+path+`"`) {
			t.Errorf("Merge with %q says %q", path, fe.Message)
		}
		if diff := cmp.Diff(stored(), got, protocmp.Transform()); diff != "" {
			t.Errorf("Merge with %q changed the message\n%s", path, diff)
		}
	}
}
