package fault

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
)

// invalid is what connectrpc.com/validate makes of a request with n mistakes.
func invalid(t *testing.T, n, length int) *connect.Error {
	t.Helper()
	found := &protovalidate.ValidationError{}
	for i := range n {
		found.Violations = append(found.Violations, &protovalidate.Violation{Proto: &validate.Violation{
			Field: &validate.FieldPath{Elements: []*validate.FieldPathElement{{
				FieldNumber: proto.Int32(2), FieldName: proto.String("recipients"),
				Subscript: &validate.FieldPathElement_Index{Index: uint64(i)},
			}, {FieldNumber: proto.Int32(1), FieldName: proto.String("email")}}},
			Rule:   fieldPath("string.email"),
			RuleId: proto.String("string.email"), Message: proto.String(strings.Repeat("é", length)),
		}})
	}
	ce := connect.NewError(connect.CodeInvalidArgument, found)
	addDetail(ce, found.ToProto())
	return ce
}

// A refusal has at most 20 mistakes and 8 kB, in every protocol, and all mistakes if they are few.
func TestConnect_bounded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ mistakes, length, least, most int }{
		{1, 20, 1, 1},
		{5, 20, 5, 5},
		{20, 20, 20, 20},
		{21, 20, 20, 20},
		{1000, 20, 20, 20},
		{20, 500, 1, 19},
		{1, 100_000, 0, 0},
		{1000, 100_000, 0, 0},
	} {
		name := fmt.Sprintf("%d mistakes of %d characters", tt.mistakes, tt.length)
		err := invalid(t, tt.mistakes, tt.length)
		ce := Connect(err)
		if reason(ce) != "INVALID_REQUEST" {
			t.Errorf("%s: reason %q", name, reason(ce))
		}
		told, _ := detail[*validate.Violations](ce)
		if got := len(told.GetViolations()); got < tt.least || got > tt.most {
			t.Errorf("%s: %d are told, want %d to %d", name, got, tt.least, tt.most)
		}
		if tt.mistakes > tt.most && !strings.HasSuffix(ce.Message(), fmt.Sprintf("%d are listed", tt.mistakes)) {
			t.Errorf("%s: %q does not say that there are more", name, ce.Message())
		}
		e := newEdge(t, err)
		for _, p := range protocols {
			if got := refusalSize(t, e, p.json, p.options); got > maxAnswer {
				t.Errorf("%s: %d bytes in %s, want at most %d", name, got, p.name, maxAnswer)
			}
		}
	}
}

// A fault is bounded like all else.
func TestConnect_longText(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 50_000)
	e := newEdge(t, Invalid("name", "%s", long).With("other", long))
	for _, p := range protocols {
		if got := refusalSize(t, e, p.json, p.options); got > maxAnswer {
			t.Errorf("%d bytes in %s, want at most %d", got, p.name, maxAnswer)
		}
	}
}

// refusalSize is how much the server sends to refuse GetRoom: headers, body and trailers.
func refusalSize(t *testing.T, e *edge, json bool, options []connect.ClientOption) (size int) {
	t.Helper()
	counted := &http.Client{Transport: counter{client(t).Transport, &size}}
	c := usherv1connect.NewRoomsServiceClient(counted, e.URL, options...)
	if _, err := c.GetRoom(t.Context(), &usherv1.GetRoomRequest{Room: "a"}); err == nil {
		t.Fatalf("GetRoom (JSON: %t) was answered, want a refusal", json)
	}
	return size
}

type counter struct {
	http.RoundTripper
	size *int
}

func (c counter) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := c.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	*c.size += len(body)
	for _, h := range []http.Header{res.Header, res.Trailer} {
		for name, values := range h {
			*c.size += len(name) + len(strings.Join(values, ""))
		}
	}
	res.Body = io.NopCloser(strings.NewReader(string(body)))
	return res, err
}
