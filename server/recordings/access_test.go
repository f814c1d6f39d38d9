package recordings

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/mailbox"
	"github.com/usher-meet/usher/server/meeting"
)

// savedRecording is one of ada's, in a room that bob owns too.
func (f *fixture) savedRecording(ada *ent.User, mode usherv1.RecordingMode) *ent.Recording {
	f.t.Helper()
	room := f.room(map[any]usherv1.Role{ada: owner})
	v := f.start(ada, room, mode)
	f.finish(f.row(v.GetId()), meeting.EgressComplete, true)
	f.sweep()
	return f.wantStatus(v.GetId(), saved)
}

// give gives somebody a role in a recording: an account, or an address that waits.
func (f *fixture) give(r *ent.Recording, who any, role usherv1.Role) {
	f.t.Helper()
	run(f, func(tx *ent.Client) (any, error) {
		create := tx.RecordingAccess.Create().SetRecordingID(r.ID).SetRole(role)
		if u, ok := who.(*ent.User); ok {
			create.SetUserID(u.ID)
		} else {
			create.SetEmail(mailbox.Address(fmt.Sprint(who)))
		}
		return nil, create.Exec(f.t.Context())
	})
}

func TestRecordingAccessMatrix(t *testing.T) {
	t.Parallel()
	type call = func(ctx context.Context, f *fixture, id string) error
	calls := []struct {
		name string
		// needs is the role in the recording.
		needs usherv1.Role
		call  call
	}{
		{"GetRecording", plainMember, func(ctx context.Context, f *fixture, id string) error {
			_, err := f.GetRecording(ctx, &usherv1.GetRecordingRequest{RecordingId: id})
			return err
		}},
		{"CreateDownloadUrl", plainMember, func(ctx context.Context, f *fixture, id string) error {
			_, err := f.CreateDownloadUrl(ctx, &usherv1.CreateDownloadUrlRequest{RecordingId: id})
			return err
		}},
		{"UpdateRecording", administrator, func(ctx context.Context, f *fixture, id string) error {
			_, err := f.UpdateRecording(ctx, &usherv1.UpdateRecordingRequest{RecordingId: id, Keep: new(true)})
			return err
		}},
		{"ListRecordingAccesses", administrator, func(ctx context.Context, f *fixture, id string) error {
			_, err := f.ListRecordingAccesses(ctx, &usherv1.ListRecordingAccessesRequest{RecordingId: id})
			return err
		}},
		{"GrantRecordingAccess MEMBER", administrator, func(ctx context.Context, f *fixture, id string) error {
			_, err := f.GrantRecordingAccess(ctx, grantEmail(id, "new@example.org", plainMember))
			return err
		}},
		{"GrantRecordingAccess OWNER", owner, func(ctx context.Context, f *fixture, id string) error {
			_, err := f.GrantRecordingAccess(ctx, grantEmail(id, "boss@example.org", owner))
			return err
		}},
		{"RevokeRecordingAccess of a member", administrator, func(ctx context.Context, f *fixture, id string) error {
			_, err := f.RevokeRecordingAccess(ctx, revokeEmail(id, "new@example.org"))
			return err
		}},
		{"DeleteRecording", administrator, func(ctx context.Context, f *fixture, id string) error {
			_, err := f.DeleteRecording(ctx, &usherv1.DeleteRecordingRequest{RecordingId: id})
			return err
		}},
	}
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		for _, c := range calls {
			for _, role := range []usherv1.Role{0, plainMember, administrator, owner} {
				for _, pending := range []bool{false, true} {
					r := f.savedRecording(f.user("Ada"), screen)
					name := "u" + uuid.NewString()
					u := f.user(name)
					switch {
					case role == 0 && pending:
						// An address that nobody verified opens nothing.
						f.give(r, u.Email, owner)
						u.EmailVerified = false
					case role != 0 && pending:
						f.give(r, u.Email, role)
					case role != 0:
						f.give(r, u, role)
					}
					var want error
					switch {
					case role == 0:
						want = ErrNotFound
					case role < c.needs:
						want = auth.ErrInsufficientRole
					}
					if err := c.call(f.as(u), f, r.ID.String()); !errors.Is(err, want) {
						t.Errorf("%s with role %d, pending %v: %v, want %v", c.name, role, pending, err, want)
					}
				}
			}
			if err := c.call(f.as(f.user("Nobody")), f, uuid.NewString()); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s of nothing: %v", c.name, err)
			}
		}
	})
}

func grantEmail(id, email string, role usherv1.Role) *usherv1.GrantRecordingAccessRequest {
	return &usherv1.GrantRecordingAccessRequest{
		RecordingId: id, Role: role, Identifier: &usherv1.GrantRecordingAccessRequest_Email{Email: email},
	}
}

func grantUser(id string, u *ent.User, role usherv1.Role) *usherv1.GrantRecordingAccessRequest {
	return &usherv1.GrantRecordingAccessRequest{
		RecordingId: id, Role: role, Identifier: &usherv1.GrantRecordingAccessRequest_UserId{UserId: u.ID.String()},
	}
}

func revokeEmail(id, email string) *usherv1.RevokeRecordingAccessRequest {
	return &usherv1.RevokeRecordingAccessRequest{
		RecordingId: id, Identifier: &usherv1.RevokeRecordingAccessRequest_Email{Email: email},
	}
}

func revokeUser(id string, u *ent.User) *usherv1.RevokeRecordingAccessRequest {
	return &usherv1.RevokeRecordingAccessRequest{
		RecordingId: id, Identifier: &usherv1.RevokeRecordingAccessRequest_UserId{UserId: u.ID.String()},
	}
}

// accesses describes who has access, as "who role".
func (f *fixture) accesses(u *ent.User, id string) []string {
	f.t.Helper()
	var all []string
	req := &usherv1.ListRecordingAccessesRequest{RecordingId: id, PageSize: 1}
	for {
		res, err := f.ListRecordingAccesses(f.as(u), req)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, a := range res.GetAccesses() {
			all = append(all, a.GetUser().GetDisplayName()+a.GetEmail()+" "+auth.RoleName(a.GetRole()))
		}
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			return all
		}
	}
}

func TestAccess_sharing(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada, bob, carol := f.user("Ada"), f.user("Bob"), f.user("Carol")
		r := f.savedRecording(ada, screen)
		id := r.ID.String()
		do := func(u *ent.User, req *usherv1.GrantRecordingAccessRequest, want error) {
			t.Helper()
			if _, err := f.GrantRecordingAccess(f.as(u), req); !errors.Is(err, want) {
				t.Errorf("grant %v: %v, want %v", req, err, want)
			}
		}
		undo := func(u *ent.User, req *usherv1.RevokeRecordingAccessRequest, want error) {
			t.Helper()
			if _, err := f.RevokeRecordingAccess(f.as(u), req); !errors.Is(err, want) {
				t.Errorf("revoke %v: %v, want %v", req, err, want)
			}
		}
		do(ada, grantUser(id, bob, administrator), nil)
		do(ada, grantEmail(id, " CAROL@example.org ", plainMember), nil)
		do(ada, grantEmail(id, "carol@example.org", plainMember), nil) // repeated
		do(ada, grantEmail(id, "eve@BÜCHER.example", plainMember), nil)
		undo(ada, revokeEmail(id, "Eve@xn--bcher-kva.example."), nil)
		for _, odd := range []string{" ", "eve", "a%b@example.org", "a\u202eb@example.org", "\u212aate@example.org"} {
			do(ada, grantEmail(id, odd, plainMember), fault.ErrInvalid)
			undo(ada, revokeEmail(id, odd), fault.ErrInvalid)
		}
		do(ada, &usherv1.GrantRecordingAccessRequest{
			RecordingId: id, Role: plainMember, Identifier: &usherv1.GrantRecordingAccessRequest_UserId{UserId: uuid.NewString()},
		}, ErrUserNotFound)
		want := []string{"Ada OWNER", "Bob ADMINISTRATOR", "carol@example.org MEMBER"}
		if got := f.accesses(ada, id); !slices.Equal(got, want) {
			t.Errorf("accesses %q, want %q", got, want)
		}
		do(bob, grantUser(id, carol, owner), auth.ErrInsufficientRole)
		do(bob, grantUser(id, ada, plainMember), auth.ErrInsufficientRole)
		undo(bob, revokeUser(id, ada), auth.ErrInsufficientRole)
		do(ada, grantUser(id, ada, plainMember), ErrLastOwner)
		undo(ada, revokeUser(id, ada), ErrLastOwner)
		do(ada, grantEmail(id, "boss@example.org", owner), nil)
		undo(ada, revokeUser(id, ada), ErrLastOwner) // the boss has not come
		// What waited for Carol's address is one with what she is given.
		do(bob, grantUser(id, carol, administrator), nil)
		want = []string{"Ada OWNER", "boss@example.org OWNER", "Bob ADMINISTRATOR", "Carol ADMINISTRATOR"}
		if got := f.accesses(ada, id); !slices.Equal(got, want) {
			t.Errorf("accesses %q, want %q", got, want)
		}
		f.give(r, "late@example.org", plainMember)
		late := f.user("Late")
		if _, err := f.CreateDownloadUrl(f.as(late), &usherv1.CreateDownloadUrlRequest{RecordingId: id}); err != nil {
			t.Fatal(err)
		}
		if got := f.accesses(ada, id); got[len(got)-1] != "Late MEMBER" {
			t.Errorf("accesses %q, want Late to have come", got)
		}
		undo(late, revokeUser(id, bob), auth.ErrInsufficientRole)
		undo(late, revokeUser(id, late), nil)
		undo(late, revokeUser(id, late), ErrNotFound)
		undo(bob, revokeUser(id, carol), nil)
		undo(bob, revokeUser(id, carol), nil) // has none: success
		do(ada, grantUser(id, bob, owner), nil)
		undo(ada, revokeUser(id, ada), nil)
		if got, want := f.accesses(bob, id), []string{"Bob OWNER", "boss@example.org OWNER"}; !slices.Equal(got, want) {
			t.Errorf("accesses %q, want %q", got, want)
		}
	})
}

// Two owners who give up their access at the same moment do not leave the recording to nobody.
func TestAccess_lastOwnerConcurrent(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada, bob := f.user("Ada"), f.user("Bob")
		for round := range 10 {
			r := f.savedRecording(ada, screen)
			f.give(r, bob, owner)
			var callers sync.WaitGroup
			for _, u := range []*ent.User{ada, bob} {
				callers.Go(func() {
					_, err := f.RevokeRecordingAccess(f.as(u), revokeUser(r.ID.String(), u))
					if err != nil && !errors.Is(err, ErrLastOwner) {
						t.Errorf("revoke: %v", err)
					}
				})
			}
			callers.Wait()
			if n, err := db.Read.Recording.QueryAccesses(r).Count(t.Context()); n != 1 || err != nil {
				t.Fatalf("round %d: %d owners left, %v, want 1", round, n, err)
			}
		}
	})
}

func TestListRecordings(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		f := newFixture(t, db)
		ada, bob := f.user("Ada"), f.user("Bob")
		var want []string
		var first *ent.Recording
		for i := range 5 {
			r := f.savedRecording(ada, screen)
			if i == 0 {
				first = r
			}
			want = append([]string{r.ID.String()}, want...)
		}
		f.savedRecording(bob, screen)
		var got []string
		req := &usherv1.ListRecordingsRequest{PageSize: 2}
		for {
			res, err := f.ListRecordings(f.as(ada), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range res.GetRecordings() {
				got = append(got, r.GetId())
			}
			if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("listed %q, want %q", got, want)
		}
		for name, try := range map[string]struct {
			req  *usherv1.ListRecordingsRequest
			want int
		}{
			"of a room":     {&usherv1.ListRecordingsRequest{Room: first.RoomID.String()}, 1},
			"with a status": {&usherv1.ListRecordingsRequest{Status: saved}, 5},
			"with another":  {&usherv1.ListRecordingsRequest{Status: failed}, 0},
		} {
			if res, err := f.ListRecordings(f.as(ada), try.req); err != nil || len(res.GetRecordings()) != try.want {
				t.Errorf("%s: %v, %v, want %d", name, res, err, try.want)
			}
		}
		if _, err := f.ListRecordings(f.as(ada), &usherv1.ListRecordingsRequest{Room: "nothing"}); !errors.Is(err, auth.ErrRoomNotFound) {
			t.Errorf("of a room that is not there: %v", err)
		}
	})
}

// A transcript's sound is for administrators and owners of it, where the operator allows it.
func TestTranscriptDownload(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.SQLite(t))
	ada, bob := f.user("Ada"), f.user("Bob")
	r := f.savedRecording(ada, transcript)
	f.give(r, bob, plainMember)
	req := &usherv1.CreateDownloadUrlRequest{RecordingId: r.ID.String()}
	if _, err := f.CreateDownloadUrl(f.as(ada), req); err != nil {
		t.Errorf("by the owner: %v", err)
	}
	if _, err := f.CreateDownloadUrl(f.as(bob), req); !errors.Is(err, auth.ErrInsufficientRole) {
		t.Errorf("by a member: %v", err)
	}
	f.Rules.TranscriptDownload = false
	if _, err := f.CreateDownloadUrl(f.as(ada), req); !errors.Is(err, ErrDisabled) {
		t.Errorf("switched off: %v", err)
	}
}

// headerCallers says who calls by a header of the test.
type headerCallers map[string]*auth.Caller

func (c headerCallers) Caller(r *http.Request) (*auth.Caller, error) {
	who := r.Header.Get("X-Test-Caller")
	if who == "bad" {
		return nil, auth.ErrUnauthenticated
	}
	if found, ok := c[who]; ok {
		return found, nil
	}
	return &auth.Caller{}, nil
}

// accessFixture is files of all kinds, and people.
type accessFixture struct {
	*fixture
	*Media
	callers callers
	ada     *ent.User
	counted map[string]int
	film    *ent.Recording
}

func newAccessFixture(t *testing.T) *accessFixture {
	t.Helper()
	f := newFixture(t, testenv.SQLite(t))
	g := &accessFixture{fixture: f, ada: f.user("Ada"), counted: map[string]int{}}
	g.callers = headerCallers{
		"ada":         {Kind: auth.User, User: g.ada, AllScopes: true},
		"stranger":    {Kind: auth.User, User: f.user("Stranger"), AllScopes: true},
		"token":       {Kind: auth.User, User: g.ada, Scopes: []string{auth.ScopeRecordings}},
		"reader":      {Kind: auth.User, User: g.ada, Scopes: []string{auth.ScopeRooms}},
		"service":     {Kind: auth.Service, Name: "portal", Scopes: []string{auth.ScopeRecordings}},
		"participant": {Kind: auth.Participant, Participant: &auth.ParticipantSession{}},
	}
	g.Media = &Media{
		Service: f.Service, Callers: g.callers, ProxySecret: "test-proxy-secret",
		Count: func(way, refusal string) { g.counted[way+" "+refusal]++ },
	}
	g.film = f.savedRecording(g.ada, screen)
	return g
}

// file is what somebody asks for, and what they get.
type file struct {
	name string
	who  string
	// path is X-Original-URL, or the path itself.
	path string
	// proxy and direct are the answers.
	proxy, direct int
}

// Every row of who may have which file, through a proxy and directly.
func TestMediaAuthTable(t *testing.T) {
	t.Parallel()
	g := newAccessFixture(t)
	f := g.fixture
	film := mediaPrefix + g.film.ObjectKey
	running := f.start(g.ada, f.room(map[any]usherv1.Role{g.ada: owner}), screen)
	lost := f.start(g.ada, f.room(map[any]usherv1.Role{g.ada: owner}), screen)
	f.finish(f.row(lost.GetId()), meeting.EgressFailed, false)
	f.sweep()
	told := f.savedRecording(g.ada, screen)
	f.work()
	f.wantStatus(told.ID.String(), notified)
	old := f.savedRecording(g.ada, screen)
	run(f, func(tx *ent.Client) (any, error) {
		return nil, tx.Recording.UpdateOne(old).SetSaveTime(time.Now().Add(-48 * time.Hour)).Exec(t.Context())
	})
	f.Life = 24 * time.Hour
	deleted := f.savedRecording(g.ada, screen)
	if _, err := f.DeleteRecording(f.as(g.ada), &usherv1.DeleteRecordingRequest{RecordingId: deleted.ID.String()}); err != nil {
		t.Fatal(err)
	}
	path := func(id string) string { return "/media/recordings/" + id + ".mp4" }
	shouted := "/media/recordings/" + strings.ToUpper(g.film.ID.String()) + ".mp4"
	for _, row := range []file{
		{"owner", "ada", film, 200, 200},
		{"told", "ada", mediaPrefix + told.ObjectKey, 200, 200},
		{"owner's token with the scope", "token", film, 200, 200},
		{"with a query", "ada", film + "?download=1", 200, 200},
		{"nobody", "", film, 401, 404},
		{"a credential that is bad", "bad", film, 401, 404},
		{"a token without the scope", "reader", film, 403, 404},
		{"a service", "service", film, 403, 404},
		{"a participant", "participant", film, 403, 404},
		{"a stranger", "stranger", film, 403, 404},
		{"unknown", "ada", path(uuid.NewString()), 403, 404},
		{"not saved", "ada", path(running.GetId()), 403, 404},
		{"failed", "ada", path(lost.GetId()), 403, 404},
		{"expired, with its file", "ada", mediaPrefix + old.ObjectKey, 403, 404},
		{"deleted", "ada", mediaPrefix + deleted.ObjectKey, 403, 404},
		{"another extension", "ada", strings.Replace(film, ".mp4", ".ogg", 1), 403, 404},
		{"an unknown extension", "ada", strings.Replace(film, ".mp4", ".exe", 1), 403, 404},
		{"something behind it", "ada", film + ".html", 403, 404},
		{"something in front of it", "ada", "/x" + film, 403, 404},
		{"another folder", "ada", strings.Replace(film, "recordings/", "other/", 1), 403, 404},
		{"no folder", "ada", "/media/" + g.film.ID.String() + ".mp4", 403, 404},
		{"dots", "ada", strings.Replace(film, "recordings/", "recordings/../recordings/", 1), 403, 404},
		{"two slashes", "ada", strings.Replace(film, "recordings/", "recordings//", 1), 403, 404},
		{"an encoded dot", "ada", strings.Replace(film, ".mp4", "%2Emp4", 1), 403, 404},
		{"an encoded slash", "ada", strings.Replace(film, "recordings/", "recordings%2F", 1), 403, 404},
		{"capitals", "ada", shouted, 403, 404},
		{"no dashes", "ada", strings.ReplaceAll(film, "-", ""), 403, 404},
		{"nothing", "ada", "/", 403, 404},
	} {
		if got := g.proxy(row.who, row.path).Code; got != row.proxy {
			t.Errorf("%s, through a proxy: %d, want %d", row.name, got, row.proxy)
		}
		if got := g.direct(row.who, row.path, nil).Code; got != row.direct {
			t.Errorf("%s, directly: %d, want %d", row.name, got, row.direct)
		}
	}
	ok := g.proxy("ada", film)
	for name, want := range map[string]string{
		"Authorization": "test-signature of " + g.film.ObjectKey, "X-Amz-Date": "20261122T000000Z", "X-Amz-Content-Sha256": "UNSIGNED",
	} {
		if got := ok.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if refused := g.proxy("stranger", film); refused.Header().Get("Authorization") != "" || refused.Body.Len() != 0 {
		t.Errorf("a refusal says %v %q", refused.Header(), refused.Body)
	}
	absolute := "https://meet.example.org:8443" + film
	if got := g.proxy("ada", absolute).Code; got != 200 {
		t.Errorf("with scheme and host: %d", got)
	}
	g.wantProxySecret(t, film)
	if g.counted["proxy signed_out"] == 0 || g.counted["direct expired"] == 0 || g.counted["proxy "] == 0 {
		t.Errorf("counted %v", g.counted)
	}
}

// wantProxySecret: signatures are for proxies, not for browsers that ask for them.
func (g *accessFixture) wantProxySecret(t *testing.T, path string) {
	t.Helper()
	ask := func(secret string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/media-auth", nil)
		r.Header.Set("X-Test-Caller", "ada")
		r.Header.Set("X-Original-URL", path)
		if secret != "" {
			r.Header.Set(ProxySecretHeader, secret)
		}
		w := httptest.NewRecorder()
		g.ServeProxy(w, r)
		return w
	}
	for _, secret := range []string{"", "test-wrong-secret"} {
		if w := ask(secret); w.Code != 403 || w.Header().Get("Authorization") != "" {
			t.Errorf("with the secret %q: %d", secret, w.Code)
		}
	}
	g.ProxySecret = ""
	for _, secret := range []string{"", "test-proxy-secret"} {
		if w := ask(secret); w.Code != 403 {
			t.Errorf("no secret set, and %q sent: %d", secret, w.Code)
		}
	}
	g.ProxySecret = "test-proxy-secret"
	// Two originals are one too many: the proxy and this server could mean different ones.
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/media-auth", nil)
	r.Header.Set("X-Test-Caller", "ada")
	r.Header["X-Original-Url"] = []string{path, path}
	w := httptest.NewRecorder()
	if g.ServeInternal(w, r); w.Code != 403 {
		t.Errorf("two originals: %d", w.Code)
	}
}

func (g *accessFixture) proxy(who, original string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(g.t.Context(), http.MethodGet, "/media-auth", nil)
	r.Header.Set("X-Test-Caller", who)
	r.Header.Set("X-Original-URL", original)
	r.Header.Set(ProxySecretHeader, "test-proxy-secret")
	w := httptest.NewRecorder()
	g.ServeProxy(w, r)
	return w
}

func (g *accessFixture) direct(who, path string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(g.t.Context(), http.MethodGet, path, nil)
	r.Header.Set("X-Test-Caller", who)
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	g.ServeFile(w, r)
	return w
}

func TestExpiredIsNotServed(t *testing.T) {
	t.Parallel()
	g := newAccessFixture(t)
	path := mediaPrefix + g.film.ObjectKey
	if got := g.direct("ada", path, nil).Code; got != 200 {
		t.Fatalf("before: %d", got)
	}
	g.Life = time.Nanosecond
	if direct, proxy := g.direct("ada", path, nil).Code, g.proxy("ada", path).Code; direct != 404 || proxy != 403 {
		t.Errorf("after: %d directly, %d through a proxy, want 404 and 403", direct, proxy)
	}
	_, err := g.CreateDownloadUrl(g.as(g.ada), &usherv1.CreateDownloadUrlRequest{RecordingId: g.film.ID.String()})
	if !errors.Is(err, ErrExpired) {
		t.Errorf("CreateDownloadUrl: %v", err)
	}
	if _, there := g.outside.files[g.film.ObjectKey]; !there {
		t.Error("the storage still has it in this test")
	}
}

func TestMedia_ranges(t *testing.T) {
	t.Parallel()
	g := newAccessFixture(t)
	path := mediaPrefix + g.film.ObjectKey
	for _, row := range []struct {
		ranges string
		status int
		length int
	}{
		{"", 200, 4711},
		{"bytes=0-9", 206, 10},
		{"bytes=-5", 206, 5},
		{"bytes=4710-", 206, 1},
		{"bytes=0-99999999999999", 206, 4711},
		{"bytes=4711-", 416, -1},
		{"bytes=9-3", 416, -1},
		{"bytes=99999999999999999999-", 416, -1},
		{"lines=1-2", 416, -1},
		{"bytes=0-0,2-2", 200, 4711},
		{"bytes=" + strings.Repeat("0-,", 1000) + "0-", 200, 4711},
	} {
		header := http.Header{}
		if row.ranges != "" {
			header.Set("Range", row.ranges)
		}
		w := g.direct("ada", path, header)
		if w.Code != row.status || row.length >= 0 && w.Body.Len() != row.length {
			t.Errorf("%.40s: %d, %d bytes, want %d, %d", row.ranges, w.Code, w.Body.Len(), row.status, row.length)
		}
	}
	w := g.direct("ada", path, http.Header{"Range": {"bytes=5-"}, "If-Range": {`"` + g.film.ID.String() + `"`}})
	if w.Code != 206 {
		t.Errorf("a download that goes on: %d, want 206", w.Code)
	}
	for name, want := range map[string]string{
		"Content-Type": "video/mp4", "Content-Disposition": `attachment; filename="` + g.film.ID.String() + `.mp4"`,
		"Content-Security-Policy": "default-src 'none'; sandbox", "X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	delete(g.outside.files, g.film.ObjectKey)
	if got := g.direct("ada", path, nil).Code; got != 404 {
		t.Errorf("a file that was deleted: %d, want 404", got)
	}
	g.outside.storageDown = errors.New("test: no answer")
	if got := g.direct("ada", path, nil).Code; got != 503 {
		t.Errorf("a storage that does not answer: %d, want 503", got)
	}
}

func FuzzOriginalURL(f *testing.F) {
	id := "0b5bb1ba-7e9f-4e2f-9ac3-5fa6a4f1e2d3"
	for _, seed := range []string{
		"/media/recordings/" + id + ".mp4", "https://meet.example.org/media/recordings/" + id + ".ogg?x=1", "/media/recordings/../" + id + ".mp4",
		"http:///media", "://", "/media/recordings/" + id + ".mp4#x", "/media/recordings%2f" + id + ".mp4",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, original string) {
		key, ok := parseOriginalURL(original, "recordings")
		if !ok {
			return
		}
		name, inFolder := strings.CutPrefix(key, "recordings/")
		id, isFile := parseFile(name)
		if !inFolder || !isFile || key != "recordings/"+id.String()+name[36:] || len(key) != len("recordings/")+40 {
			t.Errorf("%q was read as %q", original, key)
		}
		if !strings.Contains(original, "/media/"+key) {
			t.Errorf("%q does not hold %q", original, key)
		}
	})
}
