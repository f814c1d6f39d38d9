package rooms

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/room"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/api/mask"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/text"
)

// updatable are the fields of a room that can be changed.
var updatable = []string{"name", "access_level", "configuration"}

// checkUpdate refuses what no room could be changed to, before anybody learns whether there is one.
func checkUpdate(req *usherv1.UpdateRoomRequest) error {
	if req.GetRoom().GetId() == "" {
		return fault.Invalid("room.id", "says which room to change: set it")
	}
	changed, err := mask.Merge(&usherv1.Room{}, req.GetRoom(), req.GetUpdateMask(), updatable...)
	if err != nil {
		return err
	}
	if slices.Contains(changed, "name") && text.Clean(req.GetRoom().GetName(), maxName) == "" {
		return fault.Invalid("room.name", "a room cannot be without a name")
	}
	return nil
}

// update changes a room as the request says. The slug stays: addresses that were given away go on working.
func (s *Service) update(ctx context.Context, req *usherv1.UpdateRoomRequest) (a *auth.Access, err error) {
	if err := checkUpdate(req); err != nil {
		return nil, err
	}
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		if a, err = auth.LockRoom(ctx, tx, req.GetRoom().GetId()); err != nil {
			return err
		}
		if err := a.RequireAdministrator(); err != nil {
			return err
		}
		if asked := req.GetRoom().GetEtag(); asked != "" && asked != etag(a.Room) {
			return fault.ErrConflict
		}
		return s.change(ctx, tx, a, req)
	})
	return a, err
}

// change applies the request to a's room, which is locked.
func (s *Service) change(ctx context.Context, tx *ent.Client, a *auth.Access, req *usherv1.UpdateRoomRequest) error {
	next := &usherv1.Room{
		Name: a.Room.Name, AccessLevel: a.Room.AccessLevel, Configuration: proto.CloneOf(a.Room.Configuration),
	}
	changed, err := mask.Merge(next, req.GetRoom(), req.GetUpdateMask(), updatable...)
	if err != nil || len(changed) == 0 {
		return err
	}
	next.Name = text.Clean(next.GetName(), maxName)
	if next.GetAccessLevel() == usherv1.AccessLevel_ACCESS_LEVEL_UNSPECIFIED {
		next.AccessLevel = s.defaultAccessLevel(a.Caller.User)
	}
	if slices.Contains(changed, "configuration") && next.GetConfiguration() == nil && a.Caller.User != nil {
		next.Configuration = a.Caller.User.DefaultConfiguration
	}
	change := tx.Room.Update().Where(room.ID(a.Room.ID), room.Version(a.Room.Version)).
		SetName(next.GetName()).SetNameKey(text.Key(next.GetName())).SetAccessLevel(next.GetAccessLevel()).
		SetVersion(a.Room.Version + 1).SetUpdateTime(now())
	if next.GetConfiguration() == nil {
		change.ClearConfiguration()
	} else {
		change.SetConfiguration(next.GetConfiguration())
	}
	n, err := change.Save(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("update room %s: %w", a.Room.ID, err)
	case n == 0:
		return fault.ErrConflict
	}
	if a.Room, err = tx.Room.Get(ctx, a.Room.ID); err != nil {
		return fmt.Errorf("read room back: %w", err)
	}
	event := audit.Event{Room: a.Room.ID, Action: audit.RoomUpdated, Detail: changes(a, changed)}
	if err := audit.Record(ctx, tx, event); err != nil {
		return err
	}
	if slices.Equal(changed, []string{"name"}) {
		return nil // LiveKit does not know names
	}
	return s.Tasks.SyncRoom(ctx, tx, a.Room.ID)
}

// changes says for the record which fields were changed, and what was done to the door.
func changes(a *auth.Access, changed []string) string {
	detail := "fields=" + strings.Join(changed, ",")
	if slices.Contains(changed, "access_level") {
		detail += " access_level=" + strings.TrimPrefix(a.Room.AccessLevel.String(), "ACCESS_LEVEL_")
	}
	return detail
}
