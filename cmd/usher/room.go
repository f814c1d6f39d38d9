package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/jobs"
	"github.com/usher-meet/usher/server/livetasks"
	"github.com/usher-meet/usher/server/rooms"
	"github.com/usher-meet/usher/server/settings"
	"github.com/usher-meet/usher/server/telephony"
)

type roomCommands struct {
	List     roomListCommand     `cmd:"" help:"List rooms, newest first."`
	Show     roomShowCommand     `cmd:"" help:"Show a room and its members."`
	SetOwner roomSetOwnerCommand `cmd:"" help:"Make a user an owner of a room. The owners it has stay."`
	Delete   roomDeleteCommand   `cmd:"" help:"Delete a room for good, and end its meeting."`

	RotatePins roomRotatePinsCommand `cmd:"" help:"Give every room that can be dialled now another PIN."`
}

type roomView struct {
	ID          string          `json:"id"`
	Slug        string          `json:"slug"`
	Name        string          `json:"name"`
	AccessLevel string          `json:"access_level"`
	Owners      []string        `json:"owners"`
	Meetings    int64           `json:"meetings"`
	CreateTime  time.Time       `json:"create_time"`
	UpdateTime  time.Time       `json:"update_time"`
	Config      json.RawMessage `json:"configuration,omitempty"`
	Members     []memberView    `json:"members,omitempty"`
}

type memberView struct {
	UserID string `json:"user_id,omitempty"`
	Name   string `json:"name,omitempty"`
	// Email is the address of a pending member, or of the account.
	Email      string    `json:"email,omitempty"`
	Role       string    `json:"role"`
	Pending    bool      `json:"pending"`
	CreateTime time.Time `json:"create_time"`
}

// viewRoom needs the members and their users.
func viewRoom(r *ent.Room) roomView {
	v := roomView{
		ID: r.ID.String(), Slug: r.Slug, Name: r.Name, Owners: []string{}, Meetings: r.Meeting,
		AccessLevel: strings.ToLower(strings.TrimPrefix(r.AccessLevel.String(), "ACCESS_LEVEL_")),
		CreateTime:  r.CreateTime.UTC(), UpdateTime: r.UpdateTime.UTC(),
	}
	for _, m := range r.Edges.Members {
		member := memberView{
			Role:       strings.ToLower(auth.RoleName(m.Role)),
			Pending:    m.UserID == nil,
			CreateTime: m.CreateTime.UTC(),
		}
		if m.Email != nil {
			member.Email = string(*m.Email)
		}
		if u := m.Edges.User; u != nil {
			member.UserID, member.Name, member.Email = u.ID.String(), u.FullName, string(u.Email)
		}
		if member.Role == "owner" {
			v.Owners = append(v.Owners, firstOf(member.Email, member.UserID))
		}
		v.Members = append(v.Members, member)
	}
	return v
}

func firstOf(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

type roomListCommand struct {
	Query string `short:"q" help:"Only rooms whose name or slug contains this."`
	User  string `help:"Only rooms in which this user has a role: an id or e-mail address."`
	Limit int    `default:"100" help:"At most this many."`
}

// Help adds examples.
func (roomListCommand) Help() string {
	return `Examples:
  usher room list --query weekly
  usher room list --user ada@example.org --json`
}

// Run implements `usher room list`.
func (c roomListCommand) Run(ctx context.Context, p *program) error {
	_, db, err := p.open(ctx, settings.NeedNothing)
	if err != nil {
		return err
	}
	defer db.Close()
	filter := rooms.Filter{Query: c.Query, Limit: atLeastOne(c.Limit) + 1}
	if c.User != "" {
		u, err := findUser(ctx, db.Read, c.User)
		if err != nil {
			return err
		}
		filter.UserID = u.ID
	}
	found, err := (&rooms.Operator{DB: db}).List(ctx, filter)
	if err != nil {
		return err
	}
	found, more := cut(found, atLeastOne(c.Limit))
	document := struct {
		Rooms []roomView `json:"rooms"`
		More  bool       `json:"more"`
	}{Rooms: []roomView{}, More: more}
	rows := [][]string{}
	for _, r := range found {
		v := viewRoom(r)
		rows = append(rows, []string{
			v.ID, v.Slug, v.AccessLevel, strconv.Itoa(len(v.Members)), day(v.CreateTime), strings.Join(v.Owners, " "), v.Name,
		})
		v.Members = nil
		document.Rooms = append(document.Rooms, v)
	}
	return p.print(document, func(w io.Writer) error {
		return listing(
			w, []string{"ID", "SLUG", "ACCESS", "MEMBERS", "CREATED", "OWNERS", "NAME"}, rows, more, "--limit or --query",
		)
	})
}

func atLeastOne(n int) int { return max(n, 1) }

type roomShowCommand struct {
	Room string `arg:"" help:"Id or slug."`
}

// Run implements `usher room show`.
func (c roomShowCommand) Run(ctx context.Context, p *program) error {
	_, db, err := p.open(ctx, settings.NeedNothing)
	if err != nil {
		return err
	}
	defer db.Close()
	return showRoom(ctx, p, db, c.Room)
}

func showRoom(ctx context.Context, p *program, db *dbtx.DB, ref string) error {
	r, err := (&rooms.Operator{DB: db}).Show(ctx, ref)
	if err != nil {
		return err
	}
	v := viewRoom(r)
	if r.Configuration != nil {
		if v.Config, err = protojson.Marshal(r.Configuration); err != nil {
			return fmt.Errorf("show configuration: %w", err)
		}
	}
	return p.print(v, func(w io.Writer) error {
		err := details(w, "id", v.ID, "slug", v.Slug, "name", v.Name, "access level", v.AccessLevel,
			"configuration", string(v.Config), "meetings", strconv.FormatInt(v.Meetings, 10),
			"created", day(v.CreateTime), "changed", day(v.UpdateTime))
		if err == nil {
			_, err = io.WriteString(w, "\n")
		}
		if err != nil {
			return err
		}
		rows := [][]string{}
		for _, m := range v.Members {
			rows = append(rows, []string{m.Role, firstOf(m.UserID, "(pending)"), day(m.CreateTime), m.Email, m.Name})
		}
		return grid(w, []string{"ROLE", "USER", "SINCE", "E-MAIL", "NAME"}, rows)
	})
}

type roomSetOwnerCommand struct {
	Room string `arg:"" help:"Id or slug."`
	User string `arg:"" help:"Id or e-mail address."`
}

// Help adds examples.
func (roomSetOwnerCommand) Help() string {
	return `For rooms whose owners have left. To take the role from somebody, the new owner signs in and does it.

Examples:
  usher room set-owner weekly ada@example.org`
}

// Run implements `usher room set-owner`.
func (c roomSetOwnerCommand) Run(ctx context.Context, p *program) error {
	config, db, err := p.open(ctx, settings.NeedNothing)
	if err != nil {
		return err
	}
	defer db.Close()
	u, err := findUser(ctx, db.Read, c.User)
	if err != nil {
		return err
	}
	operator := &rooms.Operator{DB: db, Tasks: livetasks.NewQueue(config.LiveKit.TokenLife)}
	if err := operator.SetOwner(ctx, c.Room, u.ID); err != nil {
		return err
	}
	return showRoom(ctx, p, db, c.Room)
}

type roomDeleteCommand struct {
	Room string `arg:"" help:"Id or slug."`
	Yes  bool   `help:"Do not ask."`
}

// Help adds examples.
func (roomDeleteCommand) Help() string {
	return `Its meeting ends within seconds: a running server sees to it.

Examples:
  usher room delete weekly
  usher room delete weekly --yes --json`
}

// Run implements `usher room delete`.
func (c roomDeleteCommand) Run(ctx context.Context, p *program) error {
	config, db, err := p.open(ctx, settings.NeedNothing)
	if err != nil {
		return err
	}
	defer db.Close()
	r, err := (&rooms.Operator{DB: db}).Show(ctx, c.Room)
	if err != nil {
		return err
	}
	question := fmt.Sprintf("Delete the room %q (%s) with its %d members?", printable(r.Name), r.Slug, len(r.Edges.Members))
	if err := p.confirm(c.Yes, question); err != nil {
		return err
	}
	recordings, err := operatorRecordings(db, config)
	if err != nil {
		return err
	}
	operator := &rooms.Operator{DB: db, Tasks: livetasks.NewQueue(config.LiveKit.TokenLife), Recordings: recordings}
	if err := operator.Delete(ctx, r.ID.String()); err != nil {
		return err
	}
	return p.print(map[string]any{"id": r.ID.String(), "deleted": true}, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, "Deleted.")
		return err
	})
}

type roomRotatePinsCommand struct {
	Yes bool `help:"Do not ask."`
}

// Help says what it is for.
func (roomRotatePinsCommand) Help() string {
	return `For the case that somebody guesses PINs of meetings that go on. Callers who are in a meeting stay. Whoever was sent a PIN
needs the new one: administrators find it in the room, and can send their invitations again. A running server changes the
PINs within seconds. Rooms in which nobody is keep theirs, which open nothing now.

Examples:
  usher room rotate-pins
  usher room rotate-pins --yes --json`
}

// Run implements `usher room rotate-pins`.
func (c roomRotatePinsCommand) Run(ctx context.Context, p *program) error {
	_, db, err := p.open(ctx, settings.NeedNothing)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := p.confirm(c.Yes, "Change the PINs of all rooms that can be dialled now?"); err != nil {
		return err
	}
	queue, err := jobs.New(db, nil, jobs.Options{})
	if err != nil {
		return err
	}
	count, err := telephony.RotateLive(ctx, db, queue)
	if err != nil {
		return err
	}
	return p.print(map[string]any{"rooms": count}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "The PINs of %d rooms change within seconds.\n", count)
		return err
	})
}
