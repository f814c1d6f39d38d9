package rooms

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"entgo.io/ent/dialect/sql/sqlgraph"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/idempotencykey"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/fault"
)

// ErrRequestIDReused is a request_id that came before with another request.
var ErrRequestIDReused = fault.New(connect.CodeInvalidArgument, usherv1.ErrorReason_ERROR_REASON_REQUEST_ID_REUSED,
	"this request_id was used for another request: make a new one")

// errRequestRepeated is a call that lost against an equal one: answer with what that one stored.
var errRequestRepeated = errors.New("request_id is taken")

// requestKey is a creation that its client may repeat. The zero one is for a client that may not.
type requestKey struct {
	caller    string
	requestID uuid.UUID
	hash      []byte
	// since is the time before which keys count no longer.
	since time.Time
}

// newRequestKey makes the key of a request. withoutID is a copy of it without its request_id.
func (s *Service) newRequestKey(caller, procedure, requestID string, withoutID proto.Message) (requestKey, error) {
	if requestID == "" {
		return requestKey{}, nil
	}
	id, err := uuid.Parse(requestID)
	if err != nil {
		return requestKey{}, fault.Invalid("request_id", "must be a UUID")
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(withoutID)
	if err != nil {
		return requestKey{}, fmt.Errorf("encode request: %w", err)
	}
	hash := sha256.Sum256(append([]byte(procedure+"\x00"), body...))
	return requestKey{caller: caller, requestID: id, hash: hash[:], since: now().Add(-s.IdempotencyLife)}, nil
}

func (k requestKey) none() bool { return k.requestID == uuid.Nil }

// stored reads the answer to an equal request into res, if there was one. It fails with [ErrRequestIDReused] when the
// request was another one.
func (k requestKey) stored(ctx context.Context, db *ent.Client, res proto.Message) (bool, error) {
	if k.none() {
		return false, nil
	}
	row, err := db.IdempotencyKey.Query().Where(
		idempotencykey.Caller(k.caller), idempotencykey.RequestID(k.requestID), idempotencykey.CreateTimeGTE(k.since),
	).Only(ctx)
	switch {
	case ent.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("find idempotency key: %w", err)
	case !bytes.Equal(row.BodyHash, k.hash):
		return false, ErrRequestIDReused
	}
	if err := proto.Unmarshal(row.Response, res); err != nil {
		return false, fmt.Errorf("decode stored answer: %w", err)
	}
	return true, nil
}

// claim takes the key for this transaction, before anything else in it: an equal call that comes at the same time waits
// here, and fails with errRequestRepeated when this one commits.
func (k requestKey) claim(ctx context.Context, tx *ent.Client) error {
	if k.none() {
		return nil
	}
	_, err := tx.IdempotencyKey.Delete().Where(
		idempotencykey.Caller(k.caller), idempotencykey.RequestID(k.requestID), idempotencykey.CreateTimeLT(k.since),
	).Exec(ctx)
	if err != nil {
		return fmt.Errorf("delete expired idempotency key: %w", err)
	}
	err = tx.IdempotencyKey.Create().SetCaller(k.caller).SetRequestID(k.requestID).SetBodyHash(k.hash).SetResponse([]byte{}).
		Exec(ctx)
	switch {
	case sqlgraph.IsUniqueConstraintError(err):
		return errRequestRepeated
	case err != nil:
		return fmt.Errorf("insert idempotency key: %w", err)
	}
	return nil
}

// keep stores the answer under the key.
func (k requestKey) keep(ctx context.Context, tx *ent.Client, res proto.Message) error {
	if k.none() {
		return nil
	}
	answer, err := proto.Marshal(res)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	err = tx.IdempotencyKey.Update().Where(idempotencykey.Caller(k.caller), idempotencykey.RequestID(k.requestID)).
		SetResponse(answer).Exec(ctx)
	if err != nil {
		return fmt.Errorf("store answer: %w", err)
	}
	return nil
}
