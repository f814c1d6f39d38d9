package itemlimits

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	sources := func(n int) []usherv1.TrackSource { return make([]usherv1.TrackSource, n) }
	for _, tt := range []struct {
		name    string
		message proto.Message
		refused string
	}{
		{"nothing", &usherv1.CreateInvitationsRequest{}, ""},
		{"as many as may be", &usherv1.CreateInvitationsRequest{Recipients: make([]*usherv1.Recipient, 100)}, ""},
		{"one too many", &usherv1.CreateInvitationsRequest{Recipients: make([]*usherv1.Recipient, 101)}, "recipients"},
		{"one too many in a message in the message", &usherv1.UpdateRoomRequest{Room: &usherv1.Room{
			Configuration: &usherv1.RoomConfiguration{CanPublishSources: sources(5)},
		}}, "room.configuration.can_publish_sources"},
		{"a field mask of 50 paths", &usherv1.UpdateRoomRequest{
			UpdateMask: &fieldmaskpb.FieldMask{Paths: make([]string, 50)},
		}, ""},
		{"a field mask of 51 paths", &usherv1.UpdateRoomRequest{
			UpdateMask: &fieldmaskpb.FieldMask{Paths: make([]string, 51)},
		}, "update_mask.paths"},
	} {
		err := Check(tt.message)
		if tt.refused == "" && err != nil {
			t.Errorf("%s: %v, want no refusal", tt.name, err)
		}
		if tt.refused != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.refused+": more than ")) {
			t.Errorf("%s: %v, want one that names %s", tt.name, err, tt.refused)
		}
	}
}

// Every list and map that a client can send has a limit in the contract.
func TestLimit_everyField(t *testing.T) {
	t.Parallel()
	seen := map[protoreflect.FullName]bool{}
	found := 0
	protoregistry.GlobalFiles.RangeFilesByPackage("usher.v1", func(f protoreflect.FileDescriptor) bool {
		for s := range f.Services().Len() {
			methods := f.Services().Get(s).Methods()
			for m := range methods.Len() {
				eachMany(methods.Get(m).Input(), seen, func(f protoreflect.FieldDescriptor) {
					found++
					if limit, ok := Limit(f); !ok || limit == 0 {
						t.Errorf("%s has no limit: give it max_items or max_pairs", f.FullName())
					}
				})
			}
		}
		return true
	})
	if found < 5 {
		t.Errorf("%d lists and maps found, want all of the contract", found)
	}
}

// eachMany calls see for each list and map below a message.
func eachMany(
	d protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool, see func(protoreflect.FieldDescriptor),
) {
	if seen[d.FullName()] {
		return
	}
	seen[d.FullName()] = true
	for n := range d.Fields().Len() {
		f := d.Fields().Get(n)
		if f.IsList() || f.IsMap() {
			see(f)
		}
		if f.Message() != nil {
			eachMany(f.Message(), seen, see)
		}
	}
}
