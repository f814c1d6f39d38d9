package migrations_test

import (
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	entsql "entgo.io/ent/dialect/sql"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/ent/migrations"
)

// before is a database as the release before leaves it.
type before struct {
	t   *testing.T
	db  *sql.DB
	sql *entsql.DialectBuilder
}

func (b *before) insert(table string, values map[string]any) uuid.UUID {
	b.t.Helper()
	id, at := uuid.New(), time.Now().UTC()
	columns, row := []string{"id", "create_time"}, []any{id, at}
	for column, value := range values {
		columns, row = append(columns, column), append(row, value)
	}
	query, args := b.sql.Insert(table).Columns(columns...).Values(row...).Query()
	if _, err := b.db.ExecContext(b.t.Context(), query, args...); err != nil {
		b.t.Fatalf("insert into %s: %v", table, err)
	}
	return id
}

func (b *before) user(email string) uuid.UUID {
	b.t.Helper()
	return b.insert("users", map[string]any{"email": email, "email_verified": true, "update_time": time.Now().UTC()})
}

func (b *before) room() uuid.UUID {
	b.t.Helper()
	return b.insert("rooms", map[string]any{
		"name": "Weekly", "name_key": "weekly", "slug": uuid.NewString() + "x", "access_level": 1, "update_time": time.Now().UTC(),
	})
}

func (b *before) recording() uuid.UUID {
	b.t.Helper()
	return b.insert("recordings", map[string]any{
		"room_id": uuid.New(), "mode": 1, "status": 3, "object_key": "recordings/" + uuid.NewString(),
	})
}

// invitation makes an invitation; open ones have status 2, others 4.
func (b *before) invitation(room uuid.UUID, address string, open bool) uuid.UUID {
	b.t.Helper()
	values := map[string]any{
		"room_id": room, "room_name": "Weekly", "address": address, "status": 4, "token_hash": []byte(uuid.NewString()[:32]),
		"identity": "p_test", "expire_time": time.Now().UTC(), "update_time": time.Now().UTC(),
	}
	if open {
		values["status"], values["open_key"] = 2, room.String()+" "+address
	}
	return b.insert("invitations", values)
}

// rows returns two columns of a table by their ids.
func (b *before) rows(table, first, second string) map[uuid.UUID]string {
	b.t.Helper()
	query, args := b.sql.Select("id", first, second).From(entsql.Table(table)).Query()
	found, err := b.db.QueryContext(b.t.Context(), query, args...)
	if err != nil {
		b.t.Fatal(err)
	}
	defer found.Close()
	all := map[uuid.UUID]string{}
	for found.Next() {
		var id uuid.UUID
		var x, y sql.NullString
		if err := found.Scan(&id, &x, &y); err != nil {
			b.t.Fatal(err)
		}
		all[id] = strings.TrimSpace(x.String + " " + y.String)
	}
	if err := found.Err(); err != nil {
		b.t.Fatal(err)
	}
	return all
}

func (b *before) want(table, first, second string, want map[uuid.UUID]string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.rows(table, first, second)); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", table, diff)
	}
}

// Addresses of every kind come to their normal form; what then is one mailbox's is told and, where only one can be, made one.
func TestAddresses(t *testing.T) {
	t.Parallel()
	eachDialect(t, func(t *testing.T, dialect string) {
		db := open(t, emptyURL(t, dialect))
		if err := migrations.UpTo(t.Context(), db.SQL(), dialect, migrations.AddressesVersion); err != nil {
			t.Fatal(err)
		}
		b := &before{t, db.SQL(), entsql.Dialect(dialect)}
		ada, same, none, plain := b.user("ada@bücher.example"), b.user("ada@xn--bcher-kva.example"), b.user("a%b@people.example"), b.user("")
		room, other := b.room(), b.room()
		pending := func(room uuid.UUID, email string, role int) uuid.UUID {
			return b.insert("members", map[string]any{"room_id": room, "email": email, "role": role})
		}
		low, high, alone := pending(room, "eve@xn--bcher-kva.example", 1), pending(room, "eve@bücher.example", 3), pending(other, "eve@bücher.example", 2)
		twice := []uuid.UUID{pending(other, "Bob@people.example", 2), pending(other, "BOB@people.example", 1)}
		joined := b.insert("members", map[string]any{"room_id": room, "user_id": ada, "role": 3})
		recording := b.recording()
		access := func(email string, role int) uuid.UUID {
			return b.insert("recording_accesses", map[string]any{"recording_id": recording, "email": email, "role": role})
		}
		kept, gone := access("eve@xn--bcher-kva.example", 3), access("eve@bücher.example", 1)
		invited, again, over := b.invitation(room, "Ada@people.example", true), b.invitation(room, "ada@people.example", true), b.invitation(room, "ADA@people.example", false)
		elsewhere, bidi := b.invitation(other, "Ada@people.example", true), b.invitation(room, "a\u202eda@people.example", true)

		done, err := migrations.Up(t.Context(), db.SQL(), dialect)
		if err != nil || len(done) == 0 || done[0].Version != migrations.AddressesVersion {
			t.Fatalf("Up: %v, %v", done, err)
		}
		b.want("users", "email", "language", map[uuid.UUID]string{
			ada: "ada@xn--bcher-kva.example", same: "ada@xn--bcher-kva.example", none: "a%b@people.example", plain: "",
		})
		members := b.rows("members", "email", "role")
		left := twice[0]
		if _, ok := members[left]; !ok {
			left = twice[1]
		}
		b.want("members", "email", "role", map[uuid.UUID]string{
			low: "eve@xn--bcher-kva.example 3", alone: "eve@xn--bcher-kva.example 2", left: "bob@people.example 2", joined: "3",
		})
		b.want("recording_accesses", "email", "role", map[uuid.UUID]string{kept: "eve@xn--bcher-kva.example 3"})
		b.want("invitations", "address", "open_key", map[uuid.UUID]string{
			invited: "ada@people.example " + room.String() + " Ada@people.example", over: "ada@people.example",
			again:     "ada@people.example " + room.String() + " ada@people.example",
			elsewhere: "ada@people.example " + other.String() + " ada@people.example",
			bidi:      "a\u202eda@people.example " + room.String() + " a\u202eda@people.example",
		})
		wantNotes(t, done[0].Notes, [][]uuid.UUID{
			{ada, same}, {none}, {low, high, room}, {twice[0], twice[1], other}, {kept, gone, recording}, {invited, again, room}, {bidi},
		})
	})
}

// wantNotes looks for a note about each group of ids, and that none has an address.
func wantNotes(t *testing.T, notes []string, want [][]uuid.UUID) {
	t.Helper()
	if len(notes) != len(want) || strings.ContainsAny(strings.Join(notes, ""), "@") {
		t.Errorf("notes %q, want %d without addresses", notes, len(want))
	}
	for _, ids := range want {
		if !slices.ContainsFunc(notes, func(n string) bool {
			return !slices.ContainsFunc(ids, func(id uuid.UUID) bool { return !strings.Contains(n, id.String()) })
		}) {
			t.Errorf("no note about %v in %q", ids, notes)
		}
	}
}
