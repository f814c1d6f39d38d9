package fault

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

// Domain scopes every ErrorInfo reason of this server.
const Domain = "usher"

// Invalid is a request with one bad field, which it names as validation does.
func Invalid(field, format string, args ...any) *Error {
	e := ErrInvalid.Saying("%s: %s", field, fmt.Sprintf(format, args...)).With("field", field)
	e.field = field
	return e
}

// Interceptor translates errors at the RPC edge, unary and streaming. Put it inside logging and metrics, which want the
// final code, and outside everything that can return a fault.
type Interceptor struct {
	Log *slog.Logger
}

var _ connect.Interceptor = Interceptor{}

// WrapUnary implements connect.Interceptor.
func (i Interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if m, ok := req.Any().(proto.Message); ok {
			if err := undecodable(m); err != nil {
				return nil, Connect(err)
			}
		}
		res, err := next(ctx, req)
		if err == nil {
			return res, nil
		}
		return nil, i.translate(ctx, req.Spec().Procedure, err, req.Any())
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (i Interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		strict := &strictConn{StreamingHandlerConn: conn}
		if err := next(ctx, strict); err != nil {
			return i.translate(ctx, conn.Spec().Procedure, err, strict.last)
		}
		return nil
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (Interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// translate maps err, which is about a message, to the error that the client sees.
func (i Interceptor) translate(ctx context.Context, procedure string, err error, message any) *connect.Error {
	ce := connectError(err, message)
	if ce.Code() == connect.CodeInternal || ce.Code() == connect.CodeUnavailable {
		i.Log.ErrorContext(ctx, "rpc failed", "procedure", procedure, "code", ce.Code().String(), "err", err)
	}
	return ce
}

// strictConn refuses stream messages that could not be decoded.
type strictConn struct {
	connect.StreamingHandlerConn

	// last is the message that was received last.
	last any
}

func (c *strictConn) Receive(msg any) error {
	c.last = msg
	if err := c.StreamingHandlerConn.Receive(msg); err != nil {
		return err
	}
	if m, ok := msg.(proto.Message); ok {
		return undecodable(m)
	}
	return nil
}

// errorWriter writes errors in the protocol of a request.
var errorWriter = connect.NewErrorWriter(Codecs()...)

// Write answers a request outside of a handler of Connect's: in the protocol in which it was sent.
func Write(w http.ResponseWriter, r *http.Request, refusal *connect.Error) {
	_ = errorWriter.Write(w, r, refusal) // the client is gone, or it read the answer
}

// Connect maps err to the error that the client sees.
func Connect(err error) *connect.Error { return connectError(err, nil) }

// connectError is [Connect] for an error about a message, which may be nil.
func connectError(err error, message any) *connect.Error {
	if fe, ok := errors.AsType[*Error](err); ok {
		return fe.connect()
	}
	if ce, ok := errors.AsType[*connect.Error](err); ok {
		return explain(ce, message)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, errors.New("canceled"))
	case errors.Is(err, context.DeadlineExceeded):
		return ErrDeadline.Because(err).connect()
	case isConflict(err):
		return ErrConflict.Because(err).connect()
	case isDatabaseGone(err):
		return ErrDatabase.Because(err).connect()
	}
	return connect.NewError(connect.CodeInternal, errors.New("internal error"))
}

// explain gives an ErrorInfo to an error that already speaks Connect and has none: one from request validation, or from the
// deadline of a stream.
func explain(ce *connect.Error, message any) *connect.Error {
	switch {
	case slices.ContainsFunc(ce.Details(), func(d *connect.ErrorDetail) bool { return d.Type() == errorInfo }):
		return ce
	case ce.Code() == connect.CodeDeadlineExceeded:
		return ErrDeadline.Because(ce).connect()
	case ce.Code() != connect.CodeInvalidArgument:
		return ce
	}
	if found, ok := errors.AsType[*protovalidate.ValidationError](ce.Unwrap()); ok {
		return refuseInvalid(found, message)
	}
	addDetail(ce, ErrInvalid.info())
	return ce
}

// errorInfo is the type of the detail that has the reason.
const errorInfo = "google.rpc.ErrorInfo"

func (e *Error) connect() *connect.Error {
	text := cut(e.Message)
	ce := connect.NewError(e.Code, errors.New(text))
	addDetail(ce, e.info())
	if e.field != "" {
		// The same detail as that of request validation: clients have one way to show field errors.
		addDetail(ce, &validate.Violations{Violations: []*validate.Violation{{
			Field: fieldPath(e.field), RuleId: proto.String(Domain), Message: proto.String(text),
		}}})
	}
	if e.RetryAfter > 0 {
		addDetail(ce, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
		ce.Meta().Set("Retry-After", retryAfter(e.RetryAfter))
	}
	return ce
}

func (e *Error) info() *errdetails.ErrorInfo {
	meta := make(map[string]string, len(e.Meta))
	for name, value := range e.Meta {
		meta[name] = cut(value)
	}
	return &errdetails.ErrorInfo{Domain: Domain, Reason: e.Name(), Metadata: meta}
}

// addDetail adds a detail. Only text that is not UTF-8 keeps it from being added, and then the code and message must do.
func addDetail(ce *connect.Error, m proto.Message) {
	if d, err := connect.NewErrorDetail(m); err == nil {
		ce.AddDetail(d)
	}
}

// retryAfter is the header of RFC 9110, section 10.2.3: whole seconds, rounded up so that the call is not made too early.
func retryAfter(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(d.Seconds())))
}

// isConflict reports whether one of two transactions that collided may simply be repeated.
func isConflict(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == "40001" || pg.Code == "40P01" // serialization_failure, deadlock_detected
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		return lite.Code()&0xff == sqlitelib.SQLITE_BUSY
	}
	return false
}

// isDatabaseGone reports whether the database could not be reached or went away in the middle.
func isDatabaseGone(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		// Connection exceptions, operator intervention (shutdown, crash) and too many connections.
		return strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "57P") || pg.Code == "53300"
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.ErrUnexpectedEOF)
}

func fieldPath(name string) *validate.FieldPath {
	path := &validate.FieldPath{}
	for part := range strings.SplitSeq(name, ".") {
		path.Elements = append(path.Elements, &validate.FieldPathElement{FieldName: proto.String(part)})
	}
	return path
}

func fieldName(path *validate.FieldPath) string {
	names := make([]string, 0, len(path.GetElements()))
	for _, e := range path.GetElements() {
		names = append(names, e.GetFieldName())
	}
	return strings.Join(names, ".")
}
