package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/settings"
)

type tokenCommands struct {
	Create tokenCreateCommand `cmd:"" help:"Make an API token for a user. It is shown this once."`
	List   tokenListCommand   `cmd:"" help:"List API tokens, newest first. The tokens themselves are not kept."`
	Revoke tokenRevokeCommand `cmd:"" help:"Make an API token useless from now on."`
	Hash   tokenHashCommand   `cmd:"" help:"Make a service token, and the line for USHER_SERVICE_TOKENS."`
}

type tokenCreateCommand struct {
	User    string        `arg:"" help:"Whose token: a user's id or e-mail address."`
	Name    string        `help:"What it is for, in your words."`
	Scope   []string      `help:"What it may do, with commas: read, rooms, recordings, invitations. Default: ${default}." default:"read" sep:","`
	Expires time.Duration `help:"How long it is good. Default: ${default}; at most 8784h (366 days)." default:"720h" placeholder:"DURATION"`
}

// Help adds examples.
func (tokenCreateCommand) Help() string {
	return `Examples:
  usher token create ada@example.org --scope read,rooms --name "booking system"
  usher token create 0193f8a0-… --scope read --expires 24h --json`
}

type tokenView struct {
	ID         string     `json:"id"`
	UserID     string     `json:"user_id"`
	Name       string     `json:"name"`
	Scopes     []string   `json:"scopes"`
	CreateTime time.Time  `json:"create_time"`
	ExpireTime time.Time  `json:"expire_time"`
	RevokeTime *time.Time `json:"revoke_time,omitempty"`
	// Token is there only when it was just made.
	Token string `json:"token,omitempty"`
}

func viewToken(t *ent.APIToken) tokenView {
	return tokenView{
		ID: t.ID.String(), UserID: t.UserID.String(), Name: t.Name, Scopes: t.Scopes,
		CreateTime: t.CreateTime.UTC(), ExpireTime: t.ExpireTime.UTC(), RevokeTime: utc(t.RevokeTime),
	}
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

func (t tokenView) state(now time.Time) string {
	switch {
	case t.RevokeTime != nil:
		return "revoked " + day(*t.RevokeTime)
	case !t.ExpireTime.After(now):
		return "expired " + day(t.ExpireTime)
	}
	return "until " + day(t.ExpireTime)
}

// Run implements `usher token create`.
func (c tokenCreateCommand) Run(ctx context.Context, p *program) error {
	config, db, err := p.open(ctx, settings.NeedKeys)
	if err != nil {
		return err
	}
	defer db.Close()
	owner, err := findUser(ctx, db.Read, c.User)
	if err != nil {
		return err
	}
	tokens := &auth.APITokens{DB: db, Keys: auth.NewKeys([]byte(config.Secret), []byte(config.SecretPrevious))}
	token, row, err := tokens.Create(ctx, auth.CreateAPITokenParams{
		UserID: owner.ID, Name: c.Name, Scopes: c.Scope, ExpireTime: time.Now().Add(c.Expires),
	})
	if err != nil {
		return err
	}
	view := viewToken(row)
	view.Token = token
	return p.print(view, func(w io.Writer) error {
		err := details(w, "id", view.ID, "user", view.UserID, "name", view.Name, "scopes", strings.Join(view.Scopes, ", "),
			"expires", day(view.ExpireTime), "token", view.Token)
		p.tell("\nThe token is not shown again. Send it as: Authorization: Bearer TOKEN")
		return err
	})
}

type tokenListCommand struct {
	User  string `arg:"" optional:"" help:"Only those of this user: an id or e-mail address."`
	All   bool   `help:"Also those that were revoked or have expired."`
	Limit int    `default:"100" help:"At most this many."`
}

// Run implements `usher token list`.
func (c tokenListCommand) Run(ctx context.Context, p *program) error {
	_, db, err := p.open(ctx, settings.NeedNothing)
	if err != nil {
		return err
	}
	defer db.Close()
	owner := uuid.Nil
	if c.User != "" {
		u, err := findUser(ctx, db.Read, c.User)
		if err != nil {
			return err
		}
		owner = u.ID
	}
	all, err := (&auth.APITokens{DB: db}).List(ctx, owner)
	if err != nil {
		return err
	}
	now := time.Now()
	if !c.All {
		all = slices.DeleteFunc(all, func(t *ent.APIToken) bool { return t.RevokeTime != nil || !t.ExpireTime.After(now) })
	}
	all, more := cut(all, atLeastOne(c.Limit))
	document := struct {
		Tokens []tokenView `json:"tokens"`
		More   bool        `json:"more"`
	}{Tokens: []tokenView{}, More: more}
	rows := [][]string{}
	for _, t := range all {
		v := viewToken(t)
		document.Tokens = append(document.Tokens, v)
		rows = append(rows, []string{v.ID, v.UserID, strings.Join(v.Scopes, "+"), v.state(now), v.Name})
	}
	return p.print(document, func(w io.Writer) error {
		return listing(w, []string{"ID", "USER", "SCOPES", "STATE", "NAME"}, rows, more, "--limit")
	})
}

type tokenRevokeCommand struct {
	ID string `arg:"" help:"Id of the token, from usher token list."`
}

// Run implements `usher token revoke`.
func (c tokenRevokeCommand) Run(ctx context.Context, p *program) error {
	id, err := uuid.Parse(c.ID)
	if err != nil {
		return usageError("an API token is named by its id, as usher token list shows it")
	}
	_, db, err := p.open(ctx, settings.NeedNothing)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := (&auth.APITokens{DB: db}).Revoke(ctx, id); err != nil {
		return err
	}
	return p.print(map[string]any{"id": id.String(), "revoked": true}, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, "Revoked.")
		return err
	})
}

type tokenHashCommand struct {
	Name  string   `arg:"" help:"Name of the service: lower-case letters, digits and dashes."`
	Scope []string `help:"What it may do: rooms, telephony. Both with a comma." required:"" sep:","`
}

// Help adds examples.
func (tokenHashCommand) Help() string {
	return `Service tokens are not in the database: the settings hold their SHA-256. Restart the servers to make one work, or to
take it away.

Examples:
  usher token hash booking --scope rooms`
}

// Run implements `usher token hash`.
func (c tokenHashCommand) Run(_ context.Context, p *program) error {
	for _, scope := range c.Scope {
		if !slices.Contains(auth.ServiceScopes(), scope) {
			return usageError(fmt.Sprintf("services reach nothing with the scope %q: use %s",
				scope, strings.Join(auth.ServiceScopes(), " or ")))
		}
	}
	token, hash := auth.NewServiceToken()
	line := c.Name + ":" + hex.EncodeToString(hash[:]) + ":" + strings.Join(c.Scope, "+")
	if _, err := settings.ParseServiceToken(line); err != nil {
		return usageError(err.Error())
	}
	document := struct {
		Name    string   `json:"name"`
		Scopes  []string `json:"scopes"`
		Token   string   `json:"token"`
		Setting string   `json:"setting"`
	}{c.Name, c.Scope, token, line}
	return p.print(document, func(w io.Writer) error {
		err := details(w, "token", token, "setting", line)
		p.tell("\nGive the token to the service: it is not shown again. Add the setting to USHER_SERVICE_TOKENS.")
		return err
	})
}
