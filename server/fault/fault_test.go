package fault

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
)

// errTest stands for a fault of some service.
var errTest = New(connect.CodeFailedPrecondition, usherv1.ErrorReason_ERROR_REASON_LAST_OWNER, "name another owner first")

// Specialised copies leave the declared fault as it is, and are still known by it.
func TestError_copies(t *testing.T) {
	t.Parallel()
	cause := errors.New("some cause")
	special := errTest.With("a", "1").With("b", "2").Saying("name %s first", "one").After(time.Minute).Because(cause)
	if len(errTest.Meta) != 0 || errTest.Message != "name another owner first" || errTest.RetryAfter != 0 || errTest.Unwrap() != nil {
		t.Errorf("the declared fault has changed: %+v", errTest)
	}
	if diff := cmp.Diff(map[string]string{"a": "1", "b": "2"}, special.Meta); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	wrapped := fmt.Errorf("remove member: %w", special)
	if !errors.Is(wrapped, errTest) || !errors.Is(wrapped, cause) || errors.Is(wrapped, ErrConflict) {
		t.Errorf("%v: is a LAST_OWNER %v, is its cause %v, is a CONFLICT %v; want true, true, false",
			wrapped, errors.Is(wrapped, errTest), errors.Is(wrapped, cause), errors.Is(wrapped, ErrConflict))
	}
	if got, want := special.Error(), "name one first: some cause"; got != want {
		t.Errorf("for the log: got %q, want %q", got, want)
	}
	if got, want := special.Name(), "LAST_OWNER"; got != want {
		t.Errorf("Name: got %q, want %q", got, want)
	}
}

func TestConnect(t *testing.T) {
	t.Parallel()
	const secret = "password of 10.0.0.7"
	tests := []struct {
		name    string
		err     error
		code    connect.Code
		reason  string
		message string
		retry   bool
	}{
		{"a fault, wrapped", fmt.Errorf("x: %w", errTest.Because(errors.New(secret))), connect.CodeFailedPrecondition, "LAST_OWNER", "name another owner first", false},
		{"a plain error", errors.New(secret), connect.CodeInternal, "", "internal error", false},
		{"the caller gave up", fmt.Errorf("query: %w", context.Canceled), connect.CodeCanceled, "", "canceled", false},
		{"too slow", fmt.Errorf("query: %w", context.DeadlineExceeded), connect.CodeDeadlineExceeded, "DEADLINE_EXCEEDED", "the server took too long: repeat the call", false},
		{"a serialization failure", &pgconn.PgError{Code: "40001", Message: secret}, connect.CodeAborted, "CONFLICT", ErrConflict.Message, false},
		{"a deadlock", fmt.Errorf("commit: %w", &pgconn.PgError{Code: "40P01"}), connect.CodeAborted, "CONFLICT", ErrConflict.Message, false},
		{"PostgreSQL is stopped", &pgconn.PgError{Code: "57P01"}, connect.CodeUnavailable, "DATABASE_UNAVAILABLE", ErrDatabase.Message, true},
		{"PostgreSQL has no connection left", &pgconn.PgError{Code: "53300"}, connect.CodeUnavailable, "DATABASE_UNAVAILABLE", ErrDatabase.Message, true},
		{"a connection that broke", fmt.Errorf("query: %w", driver.ErrBadConn), connect.CodeUnavailable, "DATABASE_UNAVAILABLE", ErrDatabase.Message, true},
		{"a connection that ended", fmt.Errorf("query: %w", io.ErrUnexpectedEOF), connect.CodeUnavailable, "DATABASE_UNAVAILABLE", ErrDatabase.Message, true},
		{"nobody listens", &net.OpError{Op: "dial", Err: errors.New(secret)}, connect.CodeUnavailable, "DATABASE_UNAVAILABLE", ErrDatabase.Message, true},
		{"a constraint that nobody expected", &pgconn.PgError{Code: "23505", Message: secret}, connect.CodeInternal, "", "internal error", false},
		{"Redis is gone", ErrRedis.Because(errors.New(secret)), connect.CodeUnavailable, "REDIS_UNAVAILABLE", ErrRedis.Message, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ce := Connect(test.err)
			if ce.Code() != test.code || ce.Message() != test.message {
				t.Errorf("got %v %q, want %v %q", ce.Code(), ce.Message(), test.code, test.message)
			}
			if got := reason(ce); got != test.reason {
				t.Errorf("reason: got %q, want %q", got, test.reason)
			}
			_, retry := detail[*errdetails.RetryInfo](ce)
			if header := ce.Meta().Get("Retry-After"); retry != test.retry || (header == "1") != test.retry {
				t.Errorf("RetryInfo: %v, Retry-After: %q, want them: %v", retry, header, test.retry)
			}
		})
	}
}

// A client that waits as long as it is told must not come too early.
func TestConnect_retryAfterIsRoundedUp(t *testing.T) {
	t.Parallel()
	ce := Connect(errTest.After(1200 * time.Millisecond))
	if got := ce.Meta().Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After: got %q, want 2", got)
	}
	if info, _ := detail[*errdetails.RetryInfo](ce); info.GetRetryDelay().AsDuration() != 1200*time.Millisecond {
		t.Errorf("RetryInfo: got %v, want 1.2 s", info)
	}
}

// detail returns the detail of that type.
func detail[T any](ce *connect.Error) (d T, ok bool) {
	for _, each := range ce.Details() {
		if v, err := each.Value(); err == nil {
			if d, ok := v.(T); ok {
				return d, true
			}
		}
	}
	return d, false
}

// reason is that of the ErrorInfo; empty without one, or with one of another domain.
func reason(ce *connect.Error) string {
	info, ok := detail[*errdetails.ErrorInfo](ce)
	if !ok || info.GetDomain() != Domain {
		return ""
	}
	return info.GetReason()
}
