// Package users serves the signed-in person about themselves, and finds others for them.
//
// Names and addresses come from the OpenID provider and are never changed here; nobody learns an address here that they did
// not know. It neither makes nor ends accounts. Searching fails without Redis, which counts the look-ups: without that,
// anybody could try out addresses.
package users

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"google.golang.org/protobuf/proto"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/predicate"
	"github.com/usher-meet/usher/gen/ent/user"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/api/mask"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/text"
	"github.com/usher-meet/usher/server/zones"
)

// Service serves usher.v1.UsersService. Every field is required.
type Service struct {
	DB      *dbtx.DB
	Limiter *ratelimit.Limiter
	// LookupLimit is by user.
	LookupLimit ratelimit.Limit
	// Languages that users may choose, as BCP 47 tags.
	Languages []string
	// OpenDirectory lets users search by name.
	OpenDirectory bool
	Log           *slog.Logger
}

// update changes the preferences of the user with that id as the request says.
func (s *Service) update(ctx context.Context, id uuid.UUID, req *usherv1.UpdateMeRequest) (u *ent.User, err error) {
	err = s.DB.Run(ctx, func(tx *ent.Client) error {
		u, err = tx.User.Query().Where(user.ID(id), dbtx.ForUpdate).Only(ctx)
		if ent.IsNotFound(err) {
			return auth.ErrUnauthenticated // deleted since the credential was looked at
		}
		if err != nil {
			return fmt.Errorf("find user: %w", err)
		}
		next := view(u)
		changed, err := mask.Merge(next, req.GetUser(), req.GetUpdateMask(),
			"language", "timezone", "default_access_level", "default_configuration")
		if err != nil || len(changed) == 0 {
			return err
		}
		// What was stored before the settings changed stays until it is changed itself.
		if slices.Contains(changed, "language") {
			if next.Language, err = s.language(next.GetLanguage()); err != nil {
				return err
			}
		}
		if slices.Contains(changed, "timezone") {
			if next.Timezone, err = timezone(next.GetTimezone()); err != nil {
				return err
			}
		}
		change := tx.User.UpdateOneID(id).SetLanguage(next.GetLanguage()).SetTimezone(next.GetTimezone()).
			SetDefaultAccessLevel(next.GetDefaultAccessLevel())
		if next.GetDefaultConfiguration() == nil {
			change.ClearDefaultConfiguration()
		} else {
			change.SetDefaultConfiguration(next.GetDefaultConfiguration())
		}
		if u, err = change.Save(ctx); err != nil {
			return fmt.Errorf("update user %s: %w", id, err)
		}
		return nil
	})
	return u, err
}

// language is one of this instance's languages, in its spelling, or "".
func (s *Service) language(asked string) (string, error) {
	if asked == "" {
		return "", nil
	}
	i := slices.IndexFunc(s.Languages, func(l string) bool { return strings.EqualFold(l, asked) })
	if i < 0 {
		return "", fault.Invalid("user.language", "must be one of %s, or empty", strings.Join(s.Languages, ", "))
	}
	return s.Languages[i], nil
}

// timezone is the name of an IANA time zone, for that or an alias, or empty.
func timezone(asked string) (string, error) {
	name, ok := zones.Canonical(asked)
	if !ok && asked != "" {
		return "", fault.Invalid("user.timezone", `must be an IANA time zone such as "Europe/Paris", or empty`)
	}
	return name, nil
}

const (
	// maxFound is how many users a search returns.
	maxFound = 20
	// minName is how much of a name it takes to search for it, in characters.
	minName = 3
	// maxQuery is how long a search text may be, in characters.
	maxQuery = 254
)

// search finds active users by their exact, verified address, and by a part of their name if the directory is open.
func (s *Service) search(ctx context.Context, query string) ([]*ent.User, error) {
	var by []predicate.User
	if address, err := mailbox.Parse(query); err == nil {
		// Whoever claims an address that is not theirs must not be found, and given a role, in place of its owner.
		by = append(by, user.And(user.Email(address), user.EmailVerified(true)))
	}
	query = text.Clean(query, maxQuery)
	if s.OpenDirectory && utf8.RuneCountInString(query) >= minName {
		by = append(by, named(query))
	}
	if len(by) == 0 {
		return nil, nil
	}
	found, err := s.DB.Read.User.Query().Where(user.Active(true), user.Or(by...)).
		Order(user.ByFullName(), user.ByID()).Limit(maxFound).All(ctx)
	if err != nil {
		return nil, fmt.Errorf("search users: %w", err)
	}
	return found, nil
}

// named matches users with part of a name. Names that are addresses, as some providers give them, are left out: they would
// be found out letter by letter.
func named(part string) predicate.User {
	// SQLite, and PostgreSQL as some set it up, know upper and lower case in ASCII only: the common spellings stand for all.
	lower := strings.ToLower(part)
	spellings := []predicate.User{user.FullNameContainsFold(part)}
	for _, spelling := range []string{part, lower, strings.ToUpper(part), cases.Title(language.Und).String(lower)} {
		spellings = append(spellings, user.FullNameContains(spelling))
	}
	return user.And(user.Not(user.FullNameContains("@")), user.Or(spellings...))
}

// view is a user as they see themselves.
func view(u *ent.User) *usherv1.User {
	return &usherv1.User{
		Id: u.ID.String(), Email: string(u.Email), FullName: u.FullName, ShortName: u.ShortName,
		Language: u.Language, Timezone: u.Timezone, DefaultAccessLevel: u.DefaultAccessLevel,
		// Updates are worked out on the view.
		DefaultConfiguration: proto.CloneOf(u.DefaultConfiguration),
	}
}
