package auth

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/user"
)

// Users finds accounts by their ids. Those that are gone are left out.
func Users(ctx context.Context, db *ent.Client, ids []uuid.UUID) (map[uuid.UUID]*ent.User, error) {
	users := make(map[uuid.UUID]*ent.User, len(ids))
	if len(ids) == 0 {
		return users, nil
	}
	found, err := db.User.Query().Where(user.IDIn(ids...)).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("find users: %w", err)
	}
	for _, u := range found {
		users[u.ID] = u
	}
	return users, nil
}
