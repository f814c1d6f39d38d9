package invitations

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
)

// A link that was revoked after it was looked at, and before it is used, lets nobody in.
func TestAdmit_revokedInBetween(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s := &Service{DB: db, Keys: auth.NewKeys([]byte("test-secret-of-32-characters-or-more"), nil), Log: slog.New(slog.DiscardHandler)}
		ctx, token := t.Context(), newToken()
		var room *ent.Room
		var i *ent.Invitation
		err := db.Run(ctx, func(tx *ent.Client) (err error) {
			room, err = tx.Room.Create().SetName("Weekly").SetNameKey("weekly").SetSlug("weekly").
				SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED).Save(ctx)
			if err != nil {
				return err
			}
			id := uuid.New()
			i, err = tx.Invitation.Create().SetID(id).SetRoomID(room.ID).SetRoomName(room.Name).SetAddress("ada@people.example").
				SetOpenKey(openKey(room.ID, "ada@people.example")).SetStatus(sent).SetSkipLobby(true).SetTokenHash(hashToken(token)).
				SetTokenSealed(s.seal(id, token)).SetIdentity(s.Keys.NewIdentity(room.ID, uuid.Nil)).SetExpireTime(now().Add(time.Hour)).Save(ctx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.unseal(i); err != nil || got != token {
			t.Errorf("unsealed to another token, %v", err)
		}
		a := &auth.Access{Room: room, Caller: &auth.Caller{}}
		g, err := s.Invited(ctx, a, token)
		if err != nil || g == nil {
			t.Fatalf("Invited = %v, %v", g, err)
		}
		if err := s.Admit(ctx, a, g); err != nil {
			t.Fatalf("Admit: %v", err)
		}
		if err := db.Run(ctx, func(tx *ent.Client) error { return s.withdraw(ctx, tx, &i) }); err != nil {
			t.Fatal(err)
		}
		if err := s.Admit(ctx, a, g); !errors.Is(err, auth.ErrLobbyRequired) {
			t.Errorf("Admit after revoke: %v, want to be refused", err)
		}
		if other, err := s.Invited(ctx, &auth.Access{Room: &ent.Room{ID: uuid.New()}, Caller: &auth.Caller{}}, token); other != nil || err != nil {
			t.Errorf("in another room: %v, %v", other, err)
		}
	})
}
