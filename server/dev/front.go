package dev

import (
	"errors"
	"net/http"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/room"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/settings"
)

// front is the page at / for GET: where everything is, and calls to copy.
type front struct {
	people *people
	folder string
}

// shownRooms is how many rooms the front page lists.
const shownRooms = 10

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	guard(f.people.config, http.HandlerFunc(f.serve)).ServeHTTP(w, r)
}

func (f *front) serve(w http.ResponseWriter, r *http.Request) {
	p, c := f.people, f.people.config
	token, err := p.developerToken(r.Context())
	if errors.Is(err, auth.ErrAccountInactive) {
		token, err = deactivatedToken, nil
	}
	if err != nil {
		p.fail(w, r, err)
		return
	}
	data := pageData{
		Title: "Usher", Front: true, Version: settings.Version, URL: c.PublicURL, Token: token,
		Internal: c.ListenInternal, LiveKit: c.LiveKit.PublicURL, Folder: f.folder,
	}
	if u := p.signedIn(r); u != nil {
		data.SignedIn = u.FullName
	}
	rooms, err := p.parts.DB.Read.Room.Query().
		Order(ent.Desc(room.FieldCreateTime, room.FieldID)).
		Limit(shownRooms).
		All(r.Context())
	if err != nil {
		p.fail(w, r, err)
		return
	}
	for _, row := range rooms {
		data.Rooms = append(data.Rooms, roomLink{Name: row.Name, Slug: row.Slug, Access: accessName(row)})
	}
	showPage(w, http.StatusOK, c, data)
}

// accessName is an access level in words.
func accessName(r *ent.Room) string {
	return [...]string{"", "everybody", "signed-in people", "members"}[r.AccessLevel]
}
