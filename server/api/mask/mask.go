// Package mask applies update masks: it copies from a request into a stored message what the request means to change.
package mask

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/usher-meet/usher/server/fault"
)

// Merge copies from src into dst the fields that m names, and returns the names of those fields of dst, in the order of
// fields. A field that is named without a value in src is cleared in dst. Without a mask, or with an empty one, those that
// are set in src are copied.
//
// Only fields may be named, and, where one is a message, the fields of that message. Merge fails with fault.ErrInvalid
// naming the path otherwise, and then dst is unchanged. dst and src are messages of one type and share nothing afterwards.
func Merge(dst, src proto.Message, m *fieldmaskpb.FieldMask, fields ...string) ([]string, error) {
	to, from := dst.ProtoReflect(), proto.Clone(src).ProtoReflect()
	paths := m.GetPaths()
	if len(paths) == 0 {
		paths = set(from, fields)
	}
	for _, path := range paths {
		if !allowed(to.Descriptor(), path, fields) {
			return nil, fault.Invalid("update_mask", "%.100q is not a field that can be changed here", path)
		}
	}
	var changed []string
	for _, path := range paths {
		parent, child, nested := strings.Cut(path, ".")
		changed = append(changed, parent)
		fd := to.Descriptor().Fields().ByName(protoreflect.Name(parent))
		if nested {
			// Get of an absent message is an empty one, so a child without a parent in src is cleared.
			copyField(to.Mutable(fd).Message(), from.Get(fd).Message(), child)
			continue
		}
		copyField(to, from, parent)
	}
	return slices.DeleteFunc(slices.Clone(fields), func(f string) bool { return !slices.Contains(changed, f) }), nil
}

// set are the fields that m has.
func set(m protoreflect.Message, fields []string) []string {
	var names []string
	for _, name := range fields {
		if m.Has(m.Descriptor().Fields().ByName(protoreflect.Name(name))) {
			names = append(names, name)
		}
	}
	return names
}

// allowed reports whether path is one of fields, or one level below it.
func allowed(d protoreflect.MessageDescriptor, path string, fields []string) bool {
	parent, child, nested := strings.Cut(path, ".")
	if !slices.Contains(fields, parent) {
		return false
	}
	if !nested {
		return true
	}
	fd := d.Fields().ByName(protoreflect.Name(parent))
	return fd.Message() != nil && fd.Message().Fields().ByName(protoreflect.Name(child)) != nil
}

func copyField(to, from protoreflect.Message, name string) {
	fd := to.Descriptor().Fields().ByName(protoreflect.Name(name))
	if from.Has(fd) {
		to.Set(fd, from.Get(fd))
	} else {
		to.Clear(fd)
	}
}
