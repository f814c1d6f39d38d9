package main

import (
	"context"
	"fmt"
	"io"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/accounts"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/livetasks"
	"github.com/usher-meet/usher/server/settings"
)

// accountTools are the parts that the commands about accounts need.
type accountTools struct {
	db        *dbtx.DB
	lifecycle *accounts.Lifecycle
	close     func()
}

// openAccounts opens the database and Redis, which holds the sessions.
func (p *program) openAccounts(ctx context.Context) (*accountTools, error) {
	config, db, err := p.open(ctx, settings.NeedRedis)
	if err != nil {
		return nil, err
	}
	client, err := server.OpenRedis(config.Redis)
	if err != nil {
		db.Close()
		return nil, err
	}
	sessions := &auth.Sessions{Redis: client, IdleTimeout: config.Session.IdleTimeout, MaxAge: config.Session.MaxAge}
	return &accountTools{
		db:        db,
		lifecycle: &accounts.Lifecycle{DB: db, Sessions: sessions, Tasks: livetasks.NewQueue(config.LiveKit.TokenLife)},
		close:     func() { client.Close(); db.Close() },
	}, nil
}

// withUser opens everything, finds the account that ref names, and calls fn.
func (p *program) withUser(ctx context.Context, ref string, fn func(a *accountTools, u *ent.User) error) error {
	a, err := p.openAccounts(ctx)
	if err != nil {
		return err
	}
	defer a.close()
	u, err := findUser(ctx, a.db.Read, ref)
	if err != nil {
		return err
	}
	return fn(a, u)
}

type userDeactivateCommand struct {
	User string `arg:"" help:"Id or e-mail address."`
}

// Help adds examples.
func (userDeactivateCommand) Help() string {
	return `The person is signed out, removed from meetings, and refused everywhere until usher user reactivate. API tokens are
revoked for good. What the account owns stays.

Examples:
  usher user deactivate ada@example.org`
}

// Run implements `usher user deactivate`.
func (c userDeactivateCommand) Run(ctx context.Context, p *program) error {
	return p.withUser(ctx, c.User, func(a *accountTools, u *ent.User) error {
		if err := a.lifecycle.Deactivate(ctx, u.ID); err != nil {
			return err
		}
		return showUser(ctx, p, a.db, u.ID)
	})
}

type userReactivateCommand struct {
	User string `arg:"" help:"Id or e-mail address."`
}

// Run implements `usher user reactivate`.
func (c userReactivateCommand) Run(ctx context.Context, p *program) error {
	return p.withUser(ctx, c.User, func(a *accountTools, u *ent.User) error {
		if err := a.lifecycle.Reactivate(ctx, u.ID); err != nil {
			return err
		}
		return showUser(ctx, p, a.db, u.ID)
	})
}

type userMergeCommand struct {
	From    string `arg:"" help:"Account to take from, and delete: id or e-mail address."`
	Into    string `arg:"" help:"Account to keep: id or e-mail address."`
	DropSub bool   `help:"When both can sign in: let go of the first one's sub. Whoever signs in with it gets a new account."`
	Yes     bool   `help:"Do not ask."`
}

// Help adds examples.
func (userMergeCommand) Help() string {
	return `For one person with two accounts, as after a change of provider. Roles in rooms and API tokens move; where both have a
role in a room, the higher one wins.

Examples:
  usher user merge 0193f8a0-… ada@example.org
  usher user merge 0193f8a0-… 0193f8b7-… --drop-sub --yes`
}

// Run implements `usher user merge`.
func (c userMergeCommand) Run(ctx context.Context, p *program) error {
	return p.withUser(ctx, c.From, func(a *accountTools, from *ent.User) error {
		into, err := findUser(ctx, a.db.Read, c.Into)
		if err != nil {
			return err
		}
		question := fmt.Sprintf("Move everything of %s to %s, and delete the first?", from.ID, into.ID)
		if err := p.confirm(c.Yes, question); err != nil {
			return err
		}
		err = a.lifecycle.Merge(ctx, accounts.MergeParams{From: from.ID, Into: into.ID, DropSub: c.DropSub})
		if err != nil {
			return err
		}
		return showUser(ctx, p, a.db, into.ID)
	})
}

type userExportCommand struct {
	User string `arg:"" help:"Id or e-mail address."`
}

// Help adds examples.
func (userExportCommand) Help() string {
	return `For requests of access (GDPR, article 15). The output is JSON with or without --json.

Examples:
  usher user export ada@example.org > ada.json`
}

// Run implements `usher user export`.
func (c userExportCommand) Run(ctx context.Context, p *program) error {
	return p.withUser(ctx, c.User, func(a *accountTools, u *ent.User) error {
		data, err := a.lifecycle.Export(ctx, u.ID)
		if err != nil {
			return err
		}
		p.globals.JSON = true
		return p.print(data, nil)
	})
}

type userDeleteCommand struct {
	User string `arg:"" help:"Id or e-mail address."`
	Yes  bool   `help:"Do not ask."`
}

// Help adds examples.
func (userDeleteCommand) Help() string {
	return `Rooms that the person owns alone must go to somebody else first (usher room set-owner), or be deleted.

Examples:
  usher user delete ada@example.org
  usher user delete 0193f8a0-… --yes --json`
}

// Run implements `usher user delete`.
func (c userDeleteCommand) Run(ctx context.Context, p *program) error {
	return p.withUser(ctx, c.User, func(a *accountTools, u *ent.User) error {
		who := firstOf(string(u.Email), u.FullName, "somebody without a name")
		question := fmt.Sprintf("Delete the account %s of %s?", u.ID, who)
		if err := p.confirm(c.Yes, printable(question)); err != nil {
			return err
		}
		if err := a.lifecycle.Delete(ctx, u.ID); err != nil {
			return err
		}
		return p.print(map[string]any{"id": u.ID.String(), "deleted": true}, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, "Deleted.")
			return err
		})
	})
}
