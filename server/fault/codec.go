package fault

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Codecs are the handler options that decode requests strictly: an unknown field or enum name in JSON is refused, because
// a mistyped filter must not mean "all". They inflate no more than is read.
//
// Connect reports what a codec refuses before any interceptor runs, as an error without an ErrorInfo. These codecs
// therefore do not fail: they leave the reason in the message's unknown fields, under a number that no schema can use, and
// [Interceptor] refuses the request with it.
func Codecs() []connect.HandlerOption {
	return []connect.HandlerOption{
		connect.WithCodec(jsonCodec{name: "json"}),
		connect.WithCodec(jsonCodec{name: "json; charset=utf-8"}),
		connect.WithCodec(protoCodec{}),
		compression(),
	}
}

// MaxRequest is the largest request message in bytes.
const MaxRequest = 1 << 20

// maxCommas is how many commas a request in JSON may have, those in texts included. The longest list of a request has 1,000
// items, so no sensible request has as many. To decode half a million items would take longer than all else about a refusal.
const maxCommas = 50_000

// undecodableField carries the text of a decoding error. 19,000 to 19,999 are reserved by protobuf for itself.
const undecodableField protowire.Number = 19_999

// undecodable returns the error that a codec left in m.
func undecodable(m proto.Message) error {
	unknown := m.ProtoReflect().GetUnknown()
	for len(unknown) > 0 {
		number, kind, n := protowire.ConsumeTag(unknown)
		if n < 0 {
			return nil
		}
		value := unknown[n:]
		if number == undecodableField && kind == protowire.BytesType {
			text, size := protowire.ConsumeBytes(value)
			if size < 0 {
				return nil
			}
			if len(text) == 0 {
				return ErrTooLarge
			}
			return unreadable(string(text), m.ProtoReflect().Descriptor())
		}
		size := protowire.ConsumeFieldValue(number, kind, value)
		if size < 0 {
			return nil
		}
		unknown = value[size:]
	}
	return nil
}

// decode fills m by unmarshal, or leaves in it why that failed: a text, or none for a message over [MaxRequest]. A client
// that sends what only this function may leave is refused, too.
func decode(data []byte, m proto.Message, unmarshal func([]byte, proto.Message) error) {
	var cause string
	if len(data) <= MaxRequest {
		err := unmarshal(data, m)
		switch {
		case err != nil:
			cause = err.Error()
		case undecodable(m) == nil:
			return
		default:
			cause = fmt.Sprintf("field %d is kept for protobuf itself", undecodableField)
		}
	}
	proto.Reset(m)
	b := protowire.AppendTag(nil, undecodableField, protowire.BytesType)
	m.ProtoReflect().SetUnknown(protowire.AppendString(b, cause))
}

// How the decoder says which field is wrong: in quotes as the client wrote it, else by its JSON name. Should it come to say
// it otherwise, clients still have the text.
var (
	namedField = regexp.MustCompile(`field (?:"([A-Za-z0-9_.]{1,100})"|([A-Za-z0-9]{1,100}))`)
	upperCase  = regexp.MustCompile(`[A-Z]`)
)

// unreadable is the refusal of a request that the decoder complains about.
func unreadable(complaint string, d protoreflect.MessageDescriptor) *Error {
	// Its texts hold one of two kinds of spaces at random, so that nobody relies on them.
	complaint = strings.ReplaceAll(complaint, "\u00a0", " ")
	complaint = strings.TrimPrefix(complaint, "proto: ")
	said := bounded(complaint)
	if names := choicesOf(complaint, d); names != "" {
		said += ", which must be one of " + names
	}
	e := ErrInvalid.Saying("the request cannot be read: %s", said)
	if m := namedField.FindStringSubmatch(complaint); m != nil {
		// Violations name fields as the contract does.
		inContract := upperCase.ReplaceAllStringFunc(m[2], func(c string) string { return "_" + strings.ToLower(c) })
		e = e.With("field", m[1]+inContract)
	}
	return e
}

// bounded quotes and bounds what is repeated to the client: a decoding error quotes the input.
func bounded(s string) string {
	const limit = 200
	if len(s) <= limit {
		return strconv.Quote(s)
	}
	return strconv.Quote(s[:limit]) + "…"
}

// jsonCodec is ProtoJSON.
type jsonCodec struct{ name string }

func (c jsonCodec) Name() string { return c.name }

func (jsonCodec) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a protobuf message", message)
	}
	return protojson.Marshal(m)
}

func (jsonCodec) MarshalAppend(dst []byte, message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a protobuf message", message)
	}
	return protojson.MarshalOptions{}.MarshalAppend(dst, m)
}

func (jsonCodec) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is not a protobuf message", message)
	}
	decode(data, m, unmarshalJSON)
	return nil
}

func unmarshalJSON(data []byte, m proto.Message) error {
	if len(data) == 0 {
		// Not an empty request: whoever forgot the body of a change would make one, and a filter would mean "all".
		return errors.New("the body is empty: an empty request is {}")
	}
	if bytes.Count(data, []byte{','}) > maxCommas {
		return errors.New("too many items")
	}
	return protojson.Unmarshal(data, m)
}

// protoCodec is the binary encoding.
type protoCodec struct{}

func (protoCodec) Name() string { return "proto" }

func (protoCodec) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a protobuf message", message)
	}
	return proto.Marshal(m)
}

func (protoCodec) MarshalAppend(dst []byte, message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a protobuf message", message)
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, m)
}

func (protoCodec) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is not a protobuf message", message)
	}
	decode(data, m, proto.Unmarshal)
	return nil
}
