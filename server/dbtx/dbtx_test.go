package dbtx_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/room"
	"github.com/usher-meet/usher/gen/ent/user"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/testenv"
)

func insertUser(ctx context.Context, tx *ent.Client, name string) error {
	return tx.User.Create().SetSub(name).SetFullName(name).Exec(ctx)
}

func countUsers(t *testing.T, db *dbtx.DB) int {
	t.Helper()
	n, err := db.Read.User.Query().Count(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRun_commits(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		err := db.Run(t.Context(), func(tx *ent.Client) error { return insertUser(t.Context(), tx, "ada") })
		if err != nil {
			t.Fatal(err)
		}
		if n := countUsers(t, db); n != 1 {
			t.Errorf("%d users, want 1", n)
		}
	})
}

// However a transaction ends but well, nothing of it is left, and the next one works.
func TestRun_rollsBack(t *testing.T) {
	t.Parallel()
	errOwn := errors.New("changed my mind")
	tests := []struct {
		name string
		// end ends the transaction after a row was inserted.
		end  func(ctx context.Context, cancel func(), tx *ent.Client) error
		want error
	}{
		{"an error", func(context.Context, func(), *ent.Client) error { return errOwn }, errOwn},
		{"a cancelled context", func(ctx context.Context, cancel func(), tx *ent.Client) error {
			cancel()
			return insertUser(ctx, tx, "grace")
		}, context.Canceled},
		{"a context cancelled before the commit", func(_ context.Context, cancel func(), _ *ent.Client) error {
			cancel()
			return nil
		}, context.Canceled},
		{"a statement that the database refuses", func(ctx context.Context, _ func(), tx *ent.Client) error {
			err := insertUser(ctx, tx, "ada")
			if !ent.IsConstraintError(err) {
				return errors.New("the second ada was accepted")
			}
			return errOwn
		}, errOwn},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				err := db.Run(ctx, func(tx *ent.Client) error {
					if err := insertUser(ctx, tx, "ada"); err != nil {
						return err
					}
					return test.end(ctx, cancel, tx)
				})
				if !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
				if n := countUsers(t, db); n != 0 {
					t.Errorf("%d users are left, want none", n)
				}
				checkUsable(t, db)
			})
		})
	}
}

func TestRun_panic(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		func() {
			defer func() {
				if v := recover(); v != "boom" {
					t.Errorf("recovered %v, want boom", v)
				}
			}()
			_ = db.Run(t.Context(), func(tx *ent.Client) error {
				if err := insertUser(t.Context(), tx, "ada"); err != nil {
					return err
				}
				panic("boom")
			})
		}()
		if n := countUsers(t, db); n != 0 {
			t.Errorf("%d users are left, want none", n)
		}
		checkUsable(t, db)
	})
}

// What Ent does in a transaction of its own when it is alone (updates of one row, edges, many rows at once) belongs to this
// one; and nobody begins another within it.
func TestRun_everyKindOfWrite(t *testing.T) {
	t.Parallel()
	errUndo := errors.New("undo")
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		ctx := t.Context()
		var id uuid.UUID
		write := func(tx *ent.Client) error {
			u, err := tx.User.Create().SetSub("ada").Save(ctx)
			if err != nil {
				return err
			}
			id = u.ID
			if err := tx.User.UpdateOneID(id).SetFullName("Ada").Exec(ctx); err != nil {
				return err
			}
			r, err := tx.Room.Create().SetName("A").SetNameKey("a").SetSlug("a").
				SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC).Save(ctx)
			if err != nil {
				return err
			}
			if err := tx.Member.Create().SetRoom(r).SetUser(u).SetRole(usherv1.Role_ROLE_OWNER).Exec(ctx); err != nil {
				return err
			}
			if err := tx.User.CreateBulk(tx.User.Create().SetSub("bob"), tx.User.Create().SetSub("eve")).Exec(ctx); err != nil {
				return err
			}
			if _, err := tx.Tx(ctx); !errors.Is(err, ent.ErrTxStarted) {
				t.Errorf("a transaction within the transaction: got %v, want %v", err, ent.ErrTxStarted)
			}
			return nil
		}
		err := db.Run(ctx, func(tx *ent.Client) error { return errors.Join(write(tx), errUndo) })
		if !errors.Is(err, errUndo) || countUsers(t, db) != 0 {
			t.Errorf("rolled back: %v, and %d users are left, want none", err, countUsers(t, db))
		}
		if err := db.Run(ctx, write); err != nil {
			t.Fatal(err)
		}
		u, err := db.Read.User.Get(ctx, id)
		if err != nil || u.FullName != "Ada" || countUsers(t, db) != 3 {
			t.Errorf("got %+v, %v and %d users, want Ada and 3", u, err, countUsers(t, db))
		}
	})
}

// checkUsable: no connection was left in a transaction. On SQLite there is one that writes, so this would wait for ever.
func checkUsable(t *testing.T, db *dbtx.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := db.Run(ctx, func(tx *ent.Client) error { return insertUser(ctx, tx, "next") }); err != nil {
		t.Errorf("the next transaction: %v", err)
	}
}

// Counting up by reading and writing is right only when the row is locked in between.
func TestRun_concurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		ctx := t.Context()
		id := uuid.New()
		err := db.Run(ctx, func(tx *ent.Client) error {
			return tx.Room.Create().SetID(id).SetName("Analysis").SetNameKey("analysis").SetSlug("analysis").
				SetAccessLevel(usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC).Exec(ctx)
		})
		if err != nil {
			t.Fatal(err)
		}
		const writers = 20
		var group sync.WaitGroup
		for range writers {
			group.Go(func() {
				err := db.Run(ctx, func(tx *ent.Client) error {
					r, err := tx.Room.Query().Where(room.ID(id), dbtx.ForUpdate).Only(ctx)
					if err != nil {
						return err
					}
					return tx.Room.UpdateOneID(id).SetMeeting(r.Meeting + 1).Exec(ctx)
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		r, err := db.Read.Room.Get(ctx, id)
		if err != nil || r.Meeting != writers {
			t.Errorf("counted to %d, %v, want %d", r.Meeting, err, writers)
		}
	})
}

// On SQLite a write outside a transaction would meet the writer and fail at random, so it always fails.
func TestRead_refusesWritesOnSQLite(t *testing.T) {
	t.Parallel()
	db := testenv.SQLite(t)
	err := insertUser(t.Context(), db.Read, "ada")
	if err == nil || !strings.Contains(err.Error(), "readonly") {
		t.Errorf("got %v, want the database to be read-only", err)
	}
	if n := countUsers(t, db); n != 0 {
		t.Errorf("%d users, want none", n)
	}
}

// Readers are not held up by a transaction that goes on, and do not see it.
func TestRead_besideAWriter(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		err := db.Run(t.Context(), func(tx *ent.Client) error {
			if err := insertUser(t.Context(), tx, "ada"); err != nil {
				return err
			}
			if n := countUsers(t, db); n != 0 {
				t.Errorf("a reader sees %d users of a transaction that goes on", n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := countUsers(t, db); n != 1 {
			t.Errorf("%d users after the commit, want 1", n)
		}
	})
}

// Times come back as they were, to the microsecond, and compare as times on both databases.
func TestTimes(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		paris := time.FixedZone("+2", 2*60*60)
		times := map[string]time.Time{
			"early": time.Date(2026, 7, 1, 0, 30, 0, 0, paris), // half past ten the evening before, in UTC
			"late":  time.Date(2026, 6, 30, 23, 0, 0, 123_456_000, time.UTC),
		}
		err := db.Run(t.Context(), func(tx *ent.Client) error {
			for name, at := range times {
				if err := tx.User.Create().SetSub(name).SetCreateTime(at).Exec(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for name, at := range times {
			u, err := db.Read.User.Query().Where(user.Sub(name)).Only(t.Context())
			if err != nil || !u.CreateTime.Equal(at) {
				t.Errorf("%s: got %v, %v, want %v", name, u.CreateTime, err, at)
			}
		}
		early, err := db.Read.User.Query().Where(user.CreateTimeLT(time.Date(2026, 6, 30, 22, 45, 0, 0, time.UTC))).Only(t.Context())
		if err != nil || *early.Sub != "early" {
			t.Errorf("before a quarter to eleven: got %v, %v, want early", early, err)
		}
	})
}

// SQLite takes the path as part of a URI; it must not read one character of it as another.
func TestOpen_pathAsItIs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "100%41 é.db")
	db, err := dbtx.Open(t.Context(), "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.SQL().ExecContext(t.Context(), "CREATE TABLE t (x)"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the database is not at its path: %v", err)
	}
}

func TestOpen_refusesBadAddresses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"", "mysql://test-user:test-password@db/usher", "sqlite:", "sqlite:usher.db?mode=ro", "postgres://test-user:test-password@db:port/usher",
	} {
		db, err := dbtx.Open(t.Context(), address)
		if err == nil {
			db.Close()
			t.Errorf("Open(%q): no error", address)
			continue
		}
		if strings.Contains(err.Error(), "test-password") {
			t.Errorf("Open(%q) repeats the password: %v", address, err)
		}
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		if err := db.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if want := db.Dialect; want != dialect.Postgres && want != dialect.SQLite {
			t.Errorf("dialect %q", want)
		}
	})
	empty, err := dbtx.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "usher.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if err := empty.Ping(t.Context()); err == nil {
		t.Error("Ping of a database without tables: no error")
	}
}

// The database holds personal data: nobody else on the machine reads it, whatever the umask is and whatever it was before.
func TestOpen_restrictsSQLiteFiles(t *testing.T) {
	t.Parallel()
	for _, before := range []fs.FileMode{0, 0o644} {
		path := filepath.Join(t.TempDir(), "usher.db")
		if before != 0 {
			if err := os.WriteFile(path, nil, before); err != nil {
				t.Fatal(err)
			}
		}
		db, err := dbtx.Open(t.Context(), "sqlite:"+path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		if _, err := db.SQL().ExecContext(t.Context(), "CREATE TABLE t (x)"); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(path + "*")
		if err != nil || len(files) < 2 {
			t.Fatalf("%v, %v, want the database and its log", files, err)
		}
		for _, name := range files {
			info, err := os.Stat(name)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("before %o: %s has %v, %v, want 0600", before, filepath.Base(name), info.Mode(), err)
			}
		}
	}
}
