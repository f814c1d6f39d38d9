package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/member"
	"github.com/usher-meet/usher/gen/ent/user"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/settings"
)

type userCommands struct {
	List       userListCommand       `cmd:"" help:"List accounts, newest first."`
	Show       userShowCommand       `cmd:"" help:"Show an account and its rooms."`
	Deactivate userDeactivateCommand `cmd:"" help:"Shut an account out at once: sessions, tokens, meetings."`
	Reactivate userReactivateCommand `cmd:"" help:"Let a deactivated account in again."`
	Merge      userMergeCommand      `cmd:"" help:"Move everything of one account to another, and delete it."`
	Export     userExportCommand     `cmd:"" help:"Print all that is stored about a person, as JSON."`
	Delete     userDeleteCommand     `cmd:"" help:"Delete an account and what is stored about the person."`
}

// errManyUsers means that an address is not the name of one account.
var errManyUsers = errors.New("several accounts have this address: name one by its id (see usher user list)")

// findUser finds an account by its id or e-mail address.
func findUser(ctx context.Context, db *ent.Client, ref string) (*ent.User, error) {
	// What was stored before there were rules for addresses is found as it is.
	by := user.Email(mailbox.Address(ref))
	if address, err := mailbox.Parse(ref); err == nil {
		by = user.Email(address)
	}
	if id, err := uuid.Parse(ref); err == nil {
		by = user.ID(id)
	} else if !strings.Contains(ref, "@") {
		return nil, usageError("an account is named by its id or e-mail address (see usher user list)")
	}
	found, err := db.User.Query().Where(by).Limit(2).All(ctx)
	switch {
	case err != nil:
		return nil, fmt.Errorf("find user: %w", err)
	case len(found) == 0:
		return nil, auth.ErrNoUser
	case len(found) > 1:
		return nil, errManyUsers
	}
	return found[0], nil
}

type userView struct {
	ID            string     `json:"id"`
	Sub           string     `json:"sub"`
	Email         string     `json:"email"`
	EmailVerified bool       `json:"email_verified"`
	FullName      string     `json:"full_name"`
	ShortName     string     `json:"short_name"`
	Language      string     `json:"language"`
	Timezone      string     `json:"timezone"`
	Active        bool       `json:"active"`
	CreateTime    time.Time  `json:"create_time"`
	UpdateTime    time.Time  `json:"update_time"`
	Rooms         []userRoom `json:"rooms,omitempty"`
	APITokens     *int       `json:"api_tokens,omitempty"`
}

type userRoom struct {
	ID   string `json:"id"`
	Slug string `json:"slug"`
	Name string `json:"name"`
	Role string `json:"role"`
}

func viewUser(u *ent.User) userView {
	v := userView{
		ID: u.ID.String(), Email: string(u.Email), EmailVerified: u.EmailVerified, FullName: u.FullName, ShortName: u.ShortName,
		Language: u.Language, Timezone: u.Timezone, Active: u.Active, CreateTime: u.CreateTime.UTC(),
		UpdateTime: u.UpdateTime.UTC(),
	}
	if u.Sub != nil {
		v.Sub = *u.Sub
	}
	return v
}

type userListCommand struct {
	Query    string `short:"q" help:"Only accounts whose name or e-mail address contains this."`
	Inactive bool   `help:"Only deactivated accounts."`
	Limit    int    `default:"100" help:"At most this many."`
}

// Help adds examples.
func (userListCommand) Help() string {
	return `Examples:
  usher user list --query ada
  usher user list --inactive --json`
}

// Run implements `usher user list`.
func (c userListCommand) Run(ctx context.Context, p *program) error {
	_, db, err := p.open(ctx, settings.NeedNothing)
	if err != nil {
		return err
	}
	defer db.Close()
	query := db.Read.User.Query()
	if c.Query != "" {
		part := mailbox.Address(c.Query)
		if whole, err := mailbox.Parse(c.Query); err == nil {
			part = whole
		}
		query.Where(
			user.Or(user.EmailContainsFold(part), user.FullNameContainsFold(c.Query), user.ShortNameContainsFold(c.Query)),
		)
	}
	if c.Inactive {
		query.Where(user.Active(false))
	}
	limit := atLeastOne(c.Limit)
	found, err := query.Order(ent.Desc(user.FieldCreateTime, user.FieldID)).Limit(limit + 1).All(ctx)
	if err != nil {
		return fmt.Errorf("list users: %w", err)
	}
	found, more := cut(found, limit)
	document := struct {
		Users []userView `json:"users"`
		More  bool       `json:"more"`
	}{Users: []userView{}, More: more}
	rows := [][]string{}
	for _, u := range found {
		v := viewUser(u)
		document.Users = append(document.Users, v)
		rows = append(rows, []string{v.ID, yesNo(v.Active), day(v.CreateTime), v.Email, v.FullName})
	}
	return p.print(document, func(w io.Writer) error {
		return listing(w, []string{"ID", "ACTIVE", "CREATED", "E-MAIL", "NAME"}, rows, more, "--limit or --query")
	})
}

type userShowCommand struct {
	User string `arg:"" help:"Id or e-mail address."`
}

// Run implements `usher user show`.
func (c userShowCommand) Run(ctx context.Context, p *program) error {
	_, db, err := p.open(ctx, settings.NeedNothing)
	if err != nil {
		return err
	}
	defer db.Close()
	u, err := findUser(ctx, db.Read, c.User)
	if err != nil {
		return err
	}
	return showUser(ctx, p, db, u.ID)
}

func showUser(ctx context.Context, p *program, db *dbtx.DB, id uuid.UUID) error {
	u, err := db.Read.User.Query().Where(user.ID(id)).WithAPITokens().Only(ctx)
	if err != nil {
		return fmt.Errorf("show user: %w", err)
	}
	// Pending memberships of the address count: they are the person's.
	members, err := db.Read.Member.Query().Where(auth.Mine(u)).WithRoom().
		Order(ent.Desc(member.FieldRole), ent.Asc(member.FieldCreateTime)).All(ctx)
	if err != nil {
		return fmt.Errorf("show rooms of user: %w", err)
	}
	v, count := viewUser(u), len(u.Edges.APITokens)
	v.APITokens = &count
	rows := [][]string{}
	for _, m := range members {
		r := userRoom{
			ID:   m.RoomID.String(),
			Slug: m.Edges.Room.Slug,
			Name: m.Edges.Room.Name,
			Role: strings.ToLower(auth.RoleName(m.Role)),
		}
		v.Rooms = append(v.Rooms, r)
		rows = append(rows, []string{r.Role, r.ID, r.Slug, r.Name})
	}
	return p.print(v, func(w io.Writer) error {
		err := details(w,
			"id", v.ID, "sub", v.Sub, "e-mail", v.Email, "verified", yesNo(v.EmailVerified),
			"name", v.FullName, "short name", v.ShortName, "language", v.Language, "time zone", v.Timezone,
			"active", yesNo(v.Active), "created", day(v.CreateTime), "changed", day(v.UpdateTime), "API tokens", fmt.Sprint(count))
		if err == nil && len(rows) > 0 {
			_, err = io.WriteString(w, "\n")
		}
		if err != nil || len(rows) == 0 {
			return err
		}
		return grid(w, []string{"ROLE", "ROOM", "SLUG", "NAME"}, rows)
	})
}
