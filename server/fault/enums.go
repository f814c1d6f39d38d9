package fault

import (
	"regexp"
	"slices"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// This file tells what an enum may be when a request has another value.

// wrongEnum is how the decoder of JSON says that an enum has no such value.
var wrongEnum = regexp.MustCompile(`invalid value for enum field ([A-Za-z0-9]+):`)

// choicesOf lists the values of the enum that the decoder complains about; "" when it complains about something else, or
// when fields of that name have several enums.
func choicesOf(complaint string, d protoreflect.MessageDescriptor) string {
	named := wrongEnum.FindStringSubmatch(complaint)
	if named == nil {
		return ""
	}
	var found []protoreflect.FieldDescriptor
	enumFields(d, named[1], map[protoreflect.FullName]bool{}, &found)
	for _, f := range found {
		if f.Enum() != found[0].Enum() {
			return ""
		}
	}
	if len(found) == 0 {
		return ""
	}
	return choices(found[0])
}

// enumFields appends the enum fields below a message that have a name in JSON.
func enumFields(
	d protoreflect.MessageDescriptor, name string, seen map[protoreflect.FullName]bool, found *[]protoreflect.FieldDescriptor,
) {
	if seen[d.FullName()] {
		return
	}
	seen[d.FullName()] = true
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		switch {
		case f.Enum() != nil && (f.JSONName() == name || f.TextName() == name):
			*found = append(*found, f)
		case f.Message() != nil:
			enumFields(f.Message(), name, seen, found)
		}
	}
}

// choices lists the values that an enum field may have: none that stands for nothing, and none that the contract excludes.
func choices(f protoreflect.FieldDescriptor) string {
	rules := enumRules(f)
	var names []string
	for i := range f.Enum().Values().Len() {
		v := f.Enum().Values().Get(i)
		number := int32(v.Number())
		if number == 0 || slices.Contains(rules.GetNotIn(), number) ||
			len(rules.GetIn()) > 0 && !slices.Contains(rules.GetIn(), number) {
			continue
		}
		names = append(names, string(v.Name()))
	}
	return strings.Join(names, ", ")
}

// enumRules are the rules of the contract for the values of an enum field, or for each item of a list of them.
func enumRules(f protoreflect.FieldDescriptor) *validate.EnumRules {
	rules, err := protovalidate.ResolveFieldRules(f)
	switch {
	case err != nil || rules == nil:
		return nil
	case f.IsList():
		return rules.GetRepeated().GetItems().GetEnum()
	}
	return rules.GetEnum()
}

// inWords is a violation of a rule about an enum with the names of its values: validation speaks of their numbers.
func inWords(v *protovalidate.Violation, message any) *protovalidate.Violation {
	if !strings.HasPrefix(v.Proto.GetRuleId(), "enum.") {
		return v
	}
	f := v.FieldDescriptor
	if m, ok := message.(proto.Message); ok && f == nil { // validation does not say it of items
		f = fieldAt(m.ProtoReflect().Descriptor(), v.Proto.GetField())
	}
	if f == nil || f.Enum() == nil {
		return v
	}
	said := *v
	said.Proto = proto.CloneOf(v.Proto)
	said.Proto.Message = proto.String("must be one of " + choices(f))
	return &said
}

// fieldAt is the field at the end of a path; nil for none.
func fieldAt(d protoreflect.MessageDescriptor, path *validate.FieldPath) (f protoreflect.FieldDescriptor) {
	for _, e := range path.GetElements() {
		if d == nil {
			return nil
		}
		if f = d.Fields().ByName(protoreflect.Name(e.GetFieldName())); f == nil {
			return nil
		}
		d = f.Message()
	}
	return f
}
