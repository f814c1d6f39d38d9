// Package idempotency lets clients repeat the creation of something.
//
// A client sends the same request_id with the repetition, and gets the first answer for as long as keys are kept. The unique
// index decides which of two equal calls creates. A key is written in the transaction that creates: there is none without
// the other. It does not delete old keys: the nightly clean-up does.
package idempotency

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

// ErrReused is a request_id that came before with another request.
var ErrReused = fault.New(connect.CodeInvalidArgument, usherv1.ErrorReason_ERROR_REASON_REQUEST_ID_REUSED,
	"this request_id was used for another request: make a new one")

// ErrRepeated is a call that lost against an equal one: answer with what that one stored.
var ErrRepeated = errors.New("request_id is taken")

// Key is a creation that its client may repeat. The zero one is for a client that may not.
type Key struct {
	caller    string
	requestID uuid.UUID
	hash      []byte
	// since is the time before which keys count no longer.
	since time.Time
}

// New makes the key of a request. withoutID is a copy of it without its request_id, and life is for how long it is known.
func New(caller, procedure, requestID string, withoutID proto.Message, life time.Duration) (Key, error) {
	if requestID == "" {
		return Key{}, nil
	}
	id, err := uuid.Parse(requestID)
	if err != nil {
		return Key{}, fault.Invalid("request_id", "must be a UUID")
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(withoutID)
	if err != nil {
		return Key{}, fmt.Errorf("encode request: %w", err)
	}
	hash := sha256.Sum256(append([]byte(procedure+"\x00"), body...))
	return Key{
		caller:    caller,
		requestID: id,
		hash:      hash[:],
		since:     time.Now().UTC().Truncate(time.Microsecond).Add(-life),
	}, nil
}

func (k Key) none() bool { return k.requestID == uuid.Nil }

// Stored reads the answer to an equal request into res, if there was one. It fails with [ErrReused] when the
// request was another one.
func (k Key) Stored(ctx context.Context, db *ent.Client, res proto.Message) (bool, error) {
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
		return false, ErrReused
	}
	if err := proto.Unmarshal(row.Response, res); err != nil {
		return false, fmt.Errorf("decode stored answer: %w", err)
	}
	return true, nil
}

// Claim takes the key for this transaction, before anything else in it: an equal call that comes at the same time waits
// here, and fails with ErrRepeated when this one commits.
func (k Key) Claim(ctx context.Context, tx *ent.Client) error {
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
		return ErrRepeated
	case err != nil:
		return fmt.Errorf("insert idempotency key: %w", err)
	}
	return nil
}

// Keep stores the answer under the key.
func (k Key) Keep(ctx context.Context, tx *ent.Client, res proto.Message) error {
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
