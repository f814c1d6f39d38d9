package migrations

import (
	"context"
	"database/sql"
)

// AddressesVersion is the migration that brings e-mail addresses to one form.
const AddressesVersion = addressesVersion

// UpTo applies what is missing before a version.
func UpTo(ctx context.Context, db *sql.DB, dialect string, version int64) error {
	p, err := provider(db, dialect, notes{})
	if err != nil {
		return err
	}
	_, err = p.UpTo(ctx, version-1)
	return err
}
