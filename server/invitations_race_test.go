package server_test

import (
	"testing"
	"time"

	"entgo.io/ent/dialect"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitation"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/mailcatcher"
	"github.com/usher-meet/usher/server/settings"
)

// The sweep closes a link at the moment at which a host does something about it. It stays closed, and the host is told so.
func TestInvitation_expiresMeanwhile(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		v := startInvitationFixture(t, mailcatcher.Options{}, onDatabase, func(c *settings.Config) { c.Mail.Sweep = time.Hour })
		ctx := t.Context()
		for name, c := range map[string]struct {
			call func(id string) error
			want string
		}{
			"resend": {func(id string) error {
				_, err := v.host.ResendInvitation(ctx, &usherv1.ResendInvitationRequest{InvitationId: id})
				return err
			}, "INVITATION_EXPIRED"},
			"update": {func(id string) error {
				_, err := v.host.UpdateInvitation(ctx, &usherv1.UpdateInvitationRequest{Invitation: &usherv1.Invitation{Id: id, Message: "later"}})
				return err
			}, "INVITATION_EXPIRED"},
			"revoke": {func(id string) error {
				_, err := v.host.RevokeInvitation(ctx, &usherv1.RevokeInvitationRequest{InvitationId: id})
				return err
			}, ""},
			"again": {func(id string) error {
				if again := v.invite("again@people.example")[0].GetId(); again == id {
					t.Error("a link that has expired lives again")
				}
				return nil
			}, ""},
		} {
			id := v.invite(name + "@people.example")[0].GetId()
			v.status(id, usherv1.InvitationStatus_INVITATION_STATUS_SENT)
			if got := reason(v.whileItExpires(id, func() error { return c.call(id) })); got != c.want {
				t.Errorf("%s: reason %q, want %q", name, got, c.want)
			}
			v.status(id, usherv1.InvitationStatus_INVITATION_STATUS_EXPIRED)
		}
	})
}

// whileItExpires closes an invitation as the sweep does, in a transaction that ends once call waits for it, and returns what
// that says. On SQLite nobody can begin to write meanwhile, so there is nothing to wait for.
func (v *invitationFixture) whileItExpires(id string, call func() error) error {
	v.t.Helper()
	ctx, done := v.t.Context(), make(chan error, 1)
	err := v.DB.Run(ctx, func(tx *ent.Client) error {
		err := tx.Invitation.Update().Where(invitation.ID(uuid.MustParse(id))).SetExpireTime(time.Now().UTC().Add(-time.Minute)).
			SetStatus(usherv1.InvitationStatus_INVITATION_STATUS_EXPIRED).ClearOpenKey().ClearTokenSealed().Exec(ctx)
		if err != nil {
			return err
		}
		go func() { done <- call() }()
		if v.DB.Dialect == dialect.Postgres {
			v.eventually("the call waits", 30*time.Second, func() bool {
				waiting := 0
				const query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
				return v.DB.SQL().QueryRowContext(ctx, query).Scan(&waiting) == nil && waiting > 0
			})
		}
		return nil
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return <-done
}
