package users

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/ratelimit"
)

func newService(db *dbtx.DB) *Service {
	return &Service{DB: db, Limiter: &ratelimit.Limiter{}, Languages: []string{"en", "fr", "pt-BR"}, Log: slog.New(slog.DiscardHandler)}
}

func mustUser(t *testing.T, db *dbtx.DB, name string, change func(*ent.UserCreate)) *ent.User {
	t.Helper()
	var u *ent.User
	err := db.Run(t.Context(), func(tx *ent.Client) (err error) {
		create := tx.User.Create().SetFullName(name).SetShortName(strings.Fields(name)[0]).
			SetEmail(mailbox.Address(strings.ToLower(strings.ReplaceAll(name, " ", ".")) + "@example.org")).SetEmailVerified(true)
		if change != nil {
			change(create)
		}
		u, err = create.Save(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func as(t *testing.T, u *ent.User) context.Context {
	t.Helper()
	return auth.WithCaller(t.Context(), &auth.Caller{Kind: auth.User, User: u, AllScopes: true})
}

func wantFault(t *testing.T, err error, want *fault.Error) map[string]string {
	t.Helper()
	got, ok := errors.AsType[*fault.Error](err)
	if !ok || !errors.Is(err, want) {
		t.Errorf("got %v, want %s", err, want.Name())
		return nil
	}
	return got.Meta
}

func TestUsers_signInRequired(t *testing.T) {
	t.Parallel()
	s := newService(nil)
	_, me := s.GetMe(t.Context(), &usherv1.GetMeRequest{})
	_, update := s.UpdateMe(t.Context(), &usherv1.UpdateMeRequest{})
	_, search := s.SearchUsers(t.Context(), &usherv1.SearchUsersRequest{Query: "alice@example.org"})
	for _, err := range []error{me, update, search} {
		wantFault(t, err, auth.ErrSignInRequired)
	}
}

func TestUpdateMe(t *testing.T) {
	t.Parallel()
	const public = usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC
	full := func() *usherv1.User {
		return &usherv1.User{
			Language: "fr", Timezone: "Europe/Paris", DefaultAccessLevel: public,
			DefaultConfiguration: &usherv1.RoomConfiguration{RestrictSources: true, EveryoneCanMute: proto.Bool(false)},
		}
	}
	tests := []struct {
		name  string
		user  *usherv1.User
		paths []string
		want  func(*usherv1.User)
	}{
		{"a language, in its spelling", &usherv1.User{Language: "PT-br"}, nil, func(u *usherv1.User) { u.Language = "pt-BR" }},
		{"a time zone", &usherv1.User{Timezone: "America/Argentina/Ushuaia"}, nil, func(u *usherv1.User) { u.Timezone = "America/Argentina/Ushuaia" }},
		{"an alias", &usherv1.User{Timezone: "Asia/Calcutta"}, nil, func(u *usherv1.User) { u.Timezone = "Asia/Kolkata" }},
		{"UTC", &usherv1.User{Timezone: "UTC"}, nil, func(u *usherv1.User) { u.Timezone = "UTC" }},
		{"only what is named", &usherv1.User{Language: "en", Timezone: "UTC"}, []string{"timezone"}, func(u *usherv1.User) { u.Timezone = "UTC" }},
		{
			"everything reset", &usherv1.User{},
			[]string{"language", "timezone", "default_access_level", "default_configuration"},
			func(u *usherv1.User) {
				u.Language, u.Timezone, u.DefaultAccessLevel, u.DefaultConfiguration = "", "", 0, nil
			},
		},
		{
			"one setting", &usherv1.User{},
			[]string{"default_configuration.everyone_can_mute"},
			func(u *usherv1.User) { u.DefaultConfiguration.EveryoneCanMute = nil },
		},
		{
			"a configuration", &usherv1.User{DefaultConfiguration: &usherv1.RoomConfiguration{}}, nil,
			func(u *usherv1.User) { u.DefaultConfiguration = &usherv1.RoomConfiguration{} },
		},
		{"nothing", &usherv1.User{FullName: "Somebody else", Email: "x@example.org"}, nil, nil},
	}
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s := newService(db)
		for i, tt := range tests {
			u := mustUser(t, db, fmt.Sprintf("Alice %d", i), nil)
			res, err := s.UpdateMe(as(t, u), &usherv1.UpdateMeRequest{User: full()})
			if err != nil {
				t.Fatal(err)
			}
			want := res.GetUser()
			if want.GetLanguage() != "fr" || want.GetFullName() != u.FullName || want.GetEmail() != string(u.Email) {
				t.Errorf("%s: %v", tt.name, want)
			}
			if tt.want != nil {
				tt.want(want)
			}
			res, err = s.UpdateMe(as(t, u), &usherv1.UpdateMeRequest{User: tt.user, UpdateMask: &fieldmaskpb.FieldMask{Paths: tt.paths}})
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if diff := cmp.Diff(want, res.GetUser(), protocmp.Transform()); diff != "" {
				t.Errorf("%s: -want +got\n%s", tt.name, diff)
			}
			stored := db.Read.User.GetX(t.Context(), u.ID)
			me, err := s.GetMe(as(t, stored), &usherv1.GetMeRequest{})
			if diff := cmp.Diff(want, me.GetUser(), protocmp.Transform()); diff != "" || err != nil {
				t.Errorf("%s: read back: %v -want +got\n%s", tt.name, err, diff)
			}
		}
	})
}

func TestUpdateMe_refuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		user  *usherv1.User
		paths []string
		field string
	}{
		{"a language that this instance lacks", &usherv1.User{Language: "de"}, nil, "user.language"},
		{"half a language", &usherv1.User{Language: "pt"}, nil, "user.language"},
		{"no time zone", &usherv1.User{Timezone: "Paris"}, nil, "user.timezone"},
		{"the server's time zone", &usherv1.User{Timezone: "Local"}, nil, "user.timezone"},
		{"the same as a file", &usherv1.User{Timezone: "localtime"}, nil, "user.timezone"},
		{"a zone of this kind of system", &usherv1.User{Timezone: "posix/Europe/Paris"}, nil, "user.timezone"},
		{"a zone with leap seconds", &usherv1.User{Timezone: "right/Europe/Paris"}, nil, "user.timezone"},
		{"the zone of nowhere", &usherv1.User{Timezone: "Factory"}, nil, "user.timezone"},
		{"a path", &usherv1.User{Timezone: "../../etc/passwd"}, nil, "user.timezone"},
		{"an absolute path", &usherv1.User{Timezone: "/etc/localtime"}, nil, "user.timezone"},
		{"a name", &usherv1.User{FullName: "X"}, []string{"full_name"}, "update_mask"},
		{"an address", &usherv1.User{Email: "x@example.org"}, []string{"language", "email"}, "update_mask"},
		{"an unknown setting", &usherv1.User{}, []string{"default_configuration.colour"}, "update_mask"},
	}
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s := newService(db)
		u := mustUser(t, db, "Alice", func(c *ent.UserCreate) { c.SetLanguage("nl").SetTimezone("Mars/Base") })
		for _, tt := range tests {
			t.Log(tt.name)
			_, err := s.UpdateMe(as(t, u), &usherv1.UpdateMeRequest{User: tt.user, UpdateMask: &fieldmaskpb.FieldMask{Paths: tt.paths}})
			if got := wantFault(t, err, fault.ErrInvalid); got["field"] != tt.field {
				t.Errorf("metadata %v, want the field %s", got, tt.field)
			}
		}
		stored := db.Read.User.GetX(t.Context(), u.ID)
		if stored.FullName != "Alice" || stored.Language != "nl" || stored.Timezone != "Mars/Base" || !stored.UpdateTime.Equal(u.UpdateTime) {
			t.Errorf("stored %v", stored)
		}
		// What the settings no longer allow keeps nobody from changing something else.
		res, err := s.UpdateMe(as(t, u), &usherv1.UpdateMeRequest{User: &usherv1.User{DefaultAccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC}})
		if err != nil || res.GetUser().GetLanguage() != "nl" {
			t.Errorf("%v, %v", res, err)
		}
	})
}

func TestSearchUsers(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		closed := newService(db)
		open := newService(db)
		open.OpenDirectory = true
		alice := mustUser(t, db, "Alice Martin", nil)
		mustUser(t, db, "Alan Smith", nil)
		mustUser(t, db, "Twin One", func(c *ent.UserCreate) { c.SetEmail("twins@example.org") })
		mustUser(t, db, "Twin Two", func(c *ent.UserCreate) { c.SetEmail("twins@example.org") })
		mustUser(t, db, "Ina Ctive", func(c *ent.UserCreate) { c.SetActive(false) })
		mustUser(t, db, "odd@example.org", func(c *ent.UserCreate) { c.SetEmail("odd@example.org").SetShortName("Odd") })
		mustUser(t, db, "Imp Ostor", func(c *ent.UserCreate) { c.SetEmail("alice.martin@example.org").SetEmailVerified(false) })
		mustUser(t, db, "Kate Smith", func(c *ent.UserCreate) { c.SetEmail("kate@xn--bcher-kva.example") })
		mustUser(t, db, "Élodie Ångström", func(c *ent.UserCreate) { c.SetEmail("") })
		for i := range 25 {
			mustUser(t, db, fmt.Sprintf("Many %02d", i), nil)
		}
		tests := []struct {
			name         string
			query        string
			closed, open []string
		}{
			{"an address", "alice.martin@example.org", []string{"Alice Martin"}, []string{"Alice Martin"}},
			{"an address in any case, with space around", " Alice.Martin@EXAMPLE.org\t", []string{"Alice Martin"}, []string{"Alice Martin"}},
			{"an address with a domain in another script", "Kate@BÜCHER.example", []string{"Kate Smith"}, []string{"Kate Smith"}},
			{"a Kelvin sign", "\u212aate@bücher.example", nil, nil},
			{"an address with what nobody sees", "kate@b\u202eücher.example", nil, nil},
			{"an address of two", "twins@example.org", []string{"Twin One", "Twin Two"}, []string{"Twin One", "Twin Two"}},
			{"half an address", "alice.martin@example", nil, nil},
			{"a pattern", "%@example.org", nil, nil},
			{"an inactive user", "ina.ctive@example.org", nil, nil},
			{"nobody", "nobody@example.org", nil, nil},
			{"an address as a name", "odd@example.org", []string{"Odd"}, []string{"Odd"}},
			{"half an address that is a name", "odd@exam", nil, nil},
			{"part of an address that is a name", "exam", nil, nil},
			{"part of a name", "ART", nil, []string{"Alice Martin"}},
			{"a name beyond ASCII", "Élodie Ång", nil, []string{"Élodie Ångström"}},
			{"part of one in another case", "ÅNGSTRÖM", nil, []string{"Élodie Ångström"}},
			{"the whole of one in another case", "élodie ångström", nil, []string{"Élodie Ångström"}},
			{"an inactive user's name", "Ctive", nil, nil},
			{"too little of a name", "Al", nil, nil},
			{"too little after cleaning", "A\x00\u200fl ", nil, nil},
			{"a wildcard", "A%n", nil, nil},
		}
		for _, tt := range tests {
			for s, want := range map[*Service][]string{closed: tt.closed, open: tt.open} {
				res, err := s.SearchUsers(as(t, alice), &usherv1.SearchUsersRequest{Query: tt.query})
				if err != nil {
					t.Fatalf("%s: %v", tt.name, err)
				}
				var got []string
				for _, u := range res.GetUsers() {
					got = append(got, u.GetDisplayName())
					if strings.Contains(u.String(), "@") {
						t.Errorf("%s: %v shows an address", tt.name, u)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s, open %t: -want +got\n%s", tt.name, s.OpenDirectory, diff)
				}
			}
		}
		res, err := open.SearchUsers(as(t, alice), &usherv1.SearchUsersRequest{Query: "many"})
		if err != nil || len(res.GetUsers()) != 20 || res.GetUsers()[19].GetDisplayName() != "Many 19" {
			t.Errorf("%d users, %v", len(res.GetUsers()), err)
		}
	})
}

func TestSearchUsers_rateLimit(t *testing.T) {
	t.Parallel()
	db := testenv.SQLite(t)
	s := newService(db)
	redis := testenv.Redis(t)
	s.Limiter.Redis = redis.Client(t)
	s.LookupLimit = ratelimit.Limit{Name: "email_lookup", Burst: 2, Period: time.Hour}
	alice, bob := mustUser(t, db, "Alice", nil), mustUser(t, db, "Bob", nil)
	search := func(u *ent.User) error {
		_, err := s.SearchUsers(as(t, u), &usherv1.SearchUsersRequest{Query: "nobody@example.org"})
		return err
	}
	for range 2 {
		if err := search(alice); err != nil {
			t.Fatal(err)
		}
	}
	if got := wantFault(t, search(alice), ratelimit.ErrLimited); got["limit"] != "email_lookup" {
		t.Errorf("metadata %v", got)
	}
	if err := search(bob); err != nil {
		t.Error(err)
	}
	redis.Kill()
	wantFault(t, search(bob), fault.ErrRedis)
}
