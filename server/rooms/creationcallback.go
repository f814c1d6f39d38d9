package rooms

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"entgo.io/ent/dialect/sql/sqlgraph"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/creationcallback"
	"github.com/usher-meet/usher/server/fault"
)

// callbackLife is how long the page that waits for a room may ask about it.
const callbackLife = 10 * time.Minute

// insertCallback stores that a room was made with callbackID, if there is one. Only its hash is kept: whoever reads the
// database learns no secret.
//
// An id that waits to be asked about is refused, not replaced: who came to know it could else put another room in place
// of the one that the other page waits for.
func insertCallback(ctx context.Context, tx *ent.Client, callbackID string, room uuid.UUID) error {
	if callbackID == "" {
		return nil
	}
	hash := callbackHash(callbackID)
	_, err := tx.CreationCallback.Delete().
		Where(creationcallback.CallbackHash(hash), creationcallback.ExpireTimeLTE(now())).Exec(ctx)
	if err != nil {
		return fmt.Errorf("delete expired callback: %w", err)
	}
	err = tx.CreationCallback.Create().SetCallbackHash(hash).SetRoomID(room).SetExpireTime(now().Add(callbackLife)).Exec(ctx)
	switch {
	case sqlgraph.IsUniqueConstraintError(err):
		return fault.Invalid("callback_id", "was used for another room: make a new one")
	case err != nil:
		return fmt.Errorf("insert callback of %s: %w", room, err)
	}
	return nil
}

// resolveCallback returns the room that was made with callbackID, to the first who asks; nil to everybody else.
func (s *Service) resolveCallback(ctx context.Context, callbackID string) (*ent.Room, error) {
	row, err := s.DB.Read.CreationCallback.Query().
		Where(creationcallback.CallbackHash(callbackHash(callbackID)), creationcallback.ExpireTimeGT(now())).
		WithRoom().Only(ctx)
	if ent.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find callback: %w", err)
	}
	var deleted int
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		// Of several who found the row, the one that deletes it was first.
		deleted, err = tx.CreationCallback.Delete().Where(creationcallback.ID(row.ID)).Exec(ctx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("delete callback: %w", err)
	}
	if deleted == 0 {
		return nil, nil
	}
	return row.Edges.Room, nil
}

func callbackHash(id string) []byte {
	hash := sha256.Sum256([]byte(id))
	return hash[:]
}
