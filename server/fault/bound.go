package fault

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// This file bounds what a refusal says. Validation lists every mistake of a request, and a request may have hundreds of
// thousands.

const (
	// maxViolations is how many mistakes of a request are told.
	maxViolations = 20
	// maxAnswer is the size of a refusal with its details in bytes, as any of the protocols writes it.
	maxAnswer = 8 << 10
	// maxText is the size of the text of a refusal, and of each value of its metadata.
	maxText = 1 << 10
	// besideViolations is left for the rest of an answer: the ErrorInfo, the names and types of the details.
	besideViolations = 1 << 10
)

// violations returns the mistakes that are told of those that validation found, and the text about them. Of a form with a
// few mistakes that is all that validation says. Where that does not fit, it leaves out which rules were broken, and then
// mistakes.
func violations(found *protovalidate.ValidationError, message any) (told *validate.Violations, text string) {
	all := len(found.Violations)
	var first []*protovalidate.Violation
	for _, v := range found.Violations[:min(all, maxViolations)] {
		first = append(first, inWords(v, message))
	}
	text = (&protovalidate.ValidationError{Violations: first}).Error()
	told = &validate.Violations{}
	for _, v := range first {
		told.Violations = append(told.Violations, v.Proto)
	}
	if size(told, text) > maxAnswer-besideViolations {
		for i, v := range told.GetViolations() {
			told.Violations[i] = withoutRule(v)
		}
	}
	text = cut(text)
	for len(told.GetViolations()) > 0 && size(told, text) > maxAnswer-besideViolations {
		told.Violations = told.Violations[:len(told.Violations)-1]
	}
	if more := all - len(told.GetViolations()); more > 0 {
		text += fmt.Sprintf("\n%d of %d are listed", all-more, all)
	}
	return told, text
}

// withoutRule is a violation with what clients show: the field and the message.
func withoutRule(v *validate.Violation) *validate.Violation {
	short := &validate.Violation{Field: &validate.FieldPath{}, RuleId: v.RuleId, Message: v.Message}
	for _, e := range v.GetField().GetElements() {
		e = proto.CloneOf(e)
		e.FieldNumber, e.FieldType, e.KeyType, e.ValueType = nil, nil, nil, nil
		short.Field.Elements = append(short.Field.Elements, e)
	}
	return short
}

// size is how long an answer with this text and detail is. Connect writes a detail twice, in Base64 and as JSON; gRPC writes
// the text twice, in a header of its own and in the status, which is in Base64.
func size(detail proto.Message, text string) int {
	asJSON, _ := protojson.Marshal(detail) // fails for text that is not UTF-8, which no decoder lets through
	quoted, _ := json.Marshal(text)        // never fails for text
	encoded := proto.Size(detail)
	inConnect := len(quoted) + base64.StdEncoding.EncodedLen(encoded) + len(asJSON)
	return max(inConnect, 3*len(text)+base64.StdEncoding.EncodedLen(encoded+len(text)))
}

// cut shortens a text to maxText.
func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// refuseInvalid is the refusal of a request that validation found fault with.
func refuseInvalid(found *protovalidate.ValidationError, message any) *connect.Error {
	told, text := violations(found, message)
	ce := connect.NewError(connect.CodeInvalidArgument, errors.New(text))
	if len(told.GetViolations()) > 0 {
		addDetail(ce, told)
	}
	info := ErrInvalid
	if len(found.Violations) > 0 {
		info = info.With("field", cut(fieldName(found.Violations[0].Proto.GetField())))
	}
	addDetail(ce, info.info())
	return ce
}
