package invitations

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/mailquota"
	"github.com/usher-meet/usher/server/ratelimit"
)

const dayFormat = "2006-01-02"

// errQuota is a day on which enough letters were decided.
func errQuota(at time.Time) error {
	tomorrow := at.Truncate(24 * time.Hour).Add(24 * time.Hour)
	return ratelimit.ErrLimited.Saying("as many letters were sent today as may be: go on tomorrow (UTC)").
		With("limit", "invitations").After(tomorrow.Sub(at))
}

// take counts up to n letters of a user today, and returns how many there may be. The rows are locked, those of the user
// first, so that many calls at once count as many.
func (s *Service) take(ctx context.Context, tx *ent.Client, user uuid.UUID, n int, at time.Time) (int, error) {
	if n == 0 {
		return 0, nil
	}
	day := at.Format(dayFormat)
	own, err := lockQuota(ctx, tx, "user:"+user.String(), day)
	if err != nil {
		return 0, err
	}
	all, err := lockQuota(ctx, tx, "instance", day)
	if err != nil {
		return 0, err
	}
	n = max(0, min(n, s.Rules.PerUser-own.Used, s.Rules.PerInstance-all.Used))
	if n == 0 {
		return 0, nil
	}
	for _, q := range []*ent.MailQuota{own, all} {
		if err := tx.MailQuota.UpdateOne(q).AddUsed(n).Exec(ctx); err != nil {
			return 0, fmt.Errorf("count letters: %w", err)
		}
	}
	return n, nil
}

// takeOne counts one letter, or refuses it.
func (s *Service) takeOne(ctx context.Context, tx *ent.Client, user uuid.UUID, at time.Time) error {
	n, err := s.take(ctx, tx, user, 1, at)
	if err == nil && n == 0 {
		return errQuota(at)
	}
	return err
}

// lockQuota finds a count, and keeps others from it until the transaction ends: Ignore is no "do nothing" but an update that
// changes nothing, and so locks the row whether it was there or not.
func lockQuota(ctx context.Context, tx *ent.Client, key, day string) (*ent.MailQuota, error) {
	err := tx.MailQuota.Create().SetKey(key).SetDay(day).
		OnConflictColumns(mailquota.FieldKey, mailquota.FieldDay).Ignore().Exec(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock quota: %w", err)
	}
	q, err := tx.MailQuota.Query().Where(mailquota.Key(key), mailquota.Day(day)).Only(ctx)
	if err != nil {
		return nil, fmt.Errorf("find quota: %w", err)
	}
	return q, nil
}
