package rooms

import (
	"context"
	"fmt"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/apitoken"
	"github.com/usher-meet/usher/gen/ent/creationcallback"
	"github.com/usher-meet/usher/gen/ent/idempotencykey"
	"github.com/usher-meet/usher/server/audit"
	"github.com/usher-meet/usher/server/moderation"
)

// CleanUp deletes what is kept for a time only and is over: answers to request_ids, callbacks that nobody asked about, API
// tokens that expired or were revoked, decisions about participants, and audit events. It is for a job once a night; running
// it twice at once is harmless.
func (s *Service) CleanUp(ctx context.Context) error {
	var keys, callbacks, tokens, decisions, events int
	err := s.DB.Run(ctx, func(tx *ent.Client) (err error) {
		keys, err = tx.IdempotencyKey.Delete().Where(idempotencykey.CreateTimeLT(now().Add(-s.IdempotencyLife))).Exec(ctx)
		if err != nil {
			return fmt.Errorf("delete idempotency keys: %w", err)
		}
		callbacks, err = tx.CreationCallback.Delete().Where(creationcallback.ExpireTimeLTE(now())).Exec(ctx)
		if err != nil {
			return fmt.Errorf("delete callbacks: %w", err)
		}
		old := now().Add(-s.KeepTokens)
		tokens, err = tx.APIToken.Delete().Where(apitoken.Or(apitoken.ExpireTimeLT(old), apitoken.RevokeTimeLT(old))).Exec(ctx)
		if err != nil {
			return fmt.Errorf("delete API tokens: %w", err)
		}
		if err := deleteOldSessions(ctx, tx); err != nil {
			return err
		}
		if decisions, err = moderation.DeleteExpired(ctx, tx, now()); err != nil {
			return err
		}
		events, err = audit.DeleteBefore(ctx, tx, now().Add(-s.KeepAudit))
		return err
	})
	if err != nil {
		return err
	}
	s.Log.InfoContext(ctx, "cleaned up", "idempotency_keys", keys, "callbacks", callbacks, "api_tokens", tokens,
		"decisions", decisions, "audit_events", events)
	return nil
}
