package server_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	lksdk "github.com/livekit/server-sdk-go/v2"

	"github.com/usher-meet/usher/gen/ent"
	entmember "github.com/usher-meet/usher/gen/ent/member"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
	"github.com/usher-meet/usher/server/ratelimit"
	"github.com/usher-meet/usher/server/settings"
)

const (
	waiting  = usherv1.EntryStatus_ENTRY_STATUS_WAITING
	accepted = usherv1.EntryStatus_ENTRY_STATUS_ACCEPTED
	denied   = usherv1.EntryStatus_ENTRY_STATUS_DENIED
	allow    = usherv1.Decision_DECISION_ALLOW
	deny     = usherv1.Decision_DECISION_DENY
)

// sibling is a second server on the same database and Redis.
func (i *instance) sibling(change ...func(*settings.Config)) *instance {
	i.t.Helper()
	config := i.Config
	config.Listen = "127.0.0.1:0" // the first one has its address, to which LiveKit sends events
	for _, c := range change {
		c(&config)
	}
	return serve(i.t, config, i.Redis, i.LiveKit)
}

// restricted makes a restricted room that u owns.
func (i *instance) restricted(u *ent.User) *usherv1.Room {
	i.t.Helper()
	c := i.clients(bearer(i.apiToken(u, "rooms")))
	return must[*usherv1.CreateRoomResponse](i.t)(c.CreateRoom(i.t.Context(), &usherv1.CreateRoomRequest{
		Name: "Board", AccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED,
	})).GetRoom()
}

// member gives u a role in a room.
func (i *instance) member(u *ent.User, room string, role usherv1.Role) {
	i.t.Helper()
	err := i.DB.Run(i.t.Context(), func(tx *ent.Client) error {
		return tx.Member.Create().SetRoomID(uuid.MustParse(room)).SetUserID(u.ID).SetRole(role).Exec(i.t.Context())
	})
	if err != nil {
		i.t.Fatal(err)
	}
}

// knock asks for entry and returns the entry.
func (i *instance) knock(c *clients, room, name, ticket string) *usherv1.Entry {
	i.t.Helper()
	return must[*usherv1.RequestEntryResponse](i.t)(c.RequestEntry(i.t.Context(), &usherv1.RequestEntryRequest{
		Room: room, DisplayName: name, Ticket: ticket,
	})).GetEntry()
}

// list are the display names of those who wait.
func (i *instance) list(c *clients, room string) []string {
	i.t.Helper()
	res := must[*usherv1.ListWaitingResponse](i.t)(c.ListWaiting(i.t.Context(), &usherv1.ListWaitingRequest{Room: room}))
	return entryNames(res.GetEntries())
}

func entryNames(entries []*usherv1.Entry) []string {
	out := make([]string, 0, len(entries))
	for _, e := range entries {
		out = append(out, e.GetDisplayName())
	}
	return out
}

// watch is an open stream, whose messages are read in the background.
type watch[M any] struct {
	t        testing.TB
	messages chan *M
	err      error // after messages was closed
	header   http.Header
	Close    func()
}

func newWatch[M any](t testing.TB, open func(context.Context) (*connect.ServerStreamForClient[M], error)) *watch[M] {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := open(ctx)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	w := &watch[M]{t: t, messages: make(chan *M, 1000)}
	var done sync.WaitGroup
	done.Go(func() {
		defer close(w.messages)
		for stream.Receive() {
			w.messages <- stream.Msg() // a new message each time
		}
		w.err = stream.Err()
		w.header = stream.ResponseHeader()
	})
	w.Close = sync.OnceFunc(func() { cancel(); _ = stream.Close(); done.Wait() })
	t.Cleanup(w.Close)
	return w
}

// until reads messages until one is as wanted.
func (w *watch[M]) until(what string, ok func(*M) bool) *M {
	w.t.Helper()
	deadline := time.After(50 * time.Second)
	for {
		select {
		case m, open := <-w.messages:
			if !open {
				w.t.Fatalf("the stream ended with %v before %s", w.err, what)
			}
			if ok(m) {
				return m
			}
		case <-deadline:
			w.t.Fatalf("no %s in time", what)
		}
	}
}

// end reads the stream to its end and returns the error.
func (w *watch[M]) end() error {
	w.t.Helper()
	deadline := time.After(50 * time.Second)
	for {
		select {
		case _, open := <-w.messages:
			if !open {
				return w.err
			}
		case <-deadline:
			w.t.Fatal("the stream does not end")
		}
	}
}

func watchEntry(t testing.TB, c *clients, room, ticket string) *watch[usherv1.WatchEntryResponse] {
	t.Helper()
	return newWatch(t, func(ctx context.Context) (*connect.ServerStreamForClient[usherv1.WatchEntryResponse], error) {
		return c.WatchEntry(ctx, &usherv1.WatchEntryRequest{Room: room, Ticket: ticket})
	})
}

func watchWaiting(t testing.TB, c *clients, room string) *watch[usherv1.WatchWaitingResponse] {
	t.Helper()
	return newWatch(t, func(ctx context.Context) (*connect.ServerStreamForClient[usherv1.WatchWaitingResponse], error) {
		return c.WatchWaiting(ctx, &usherv1.WatchWaitingRequest{Room: room})
	})
}

// untilEntry waits for an entry of a status.
func untilEntry(w *watch[usherv1.WatchEntryResponse], status usherv1.EntryStatus) *usherv1.Entry {
	w.t.Helper()
	return w.until(status.String(), func(m *usherv1.WatchEntryResponse) bool { return m.GetEntry().GetStatus() == status }).GetEntry()
}

// untilList waits for a snapshot with these names.
func untilList(w *watch[usherv1.WatchWaitingResponse], names ...string) []*usherv1.Entry {
	w.t.Helper()
	want := strings.Join(names, ", ")
	return w.until("list of "+want, func(m *usherv1.WatchWaitingResponse) bool {
		return m.GetSnapshot() != nil && strings.Join(entryNames(m.GetSnapshot().GetEntries()), ", ") == want
	}).GetSnapshot().GetEntries()
}

// A guest and a host on streams of two servers. The host in the call is told, and nobody else; the guest who was let in
// joins the real LiveKit under the name that was admitted, whatever they say by then.
func TestAdmission(t *testing.T) {
	t.Parallel()
	one := start(t)
	two := one.sibling()
	ada := one.user("Ada Of Admission")
	room := one.restricted(ada)
	token := one.apiToken(ada, "rooms")
	host, guest := two.clients(bearer(token)), one.clients()

	call := must[*usherv1.JoinRoomResponse](t)(host.JoinRoom(t.Context(), &usherv1.JoinRoomRequest{Room: room.GetId()})).GetConnection()
	told := make(chan string, 10)
	inCall, err := lksdk.ConnectToRoomWithToken(call.GetServerUrl(), call.GetToken(), &lksdk.RoomCallback{
		ParticipantCallback: lksdk.ParticipantCallback{OnDataPacket: func(d lksdk.DataPacket, p lksdk.DataReceiveParams) {
			if u, ok := d.(*lksdk.UserDataPacket); ok {
				told <- u.Topic + " " + p.SenderIdentity + " " + string(u.Payload)
			}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(inCall.Disconnect)

	list := watchWaiting(t, host, room.GetId())
	untilList(list)
	e := one.knock(guest, room.GetSlug(), "Grace Guest", "")
	if e.GetStatus() != waiting || e.GetPosition() != 1 || e.GetTicket() == "" || e.GetConnection() != nil || e.GetRetryAfter() == nil {
		t.Fatalf("entry = %v, want one that waits, first, with a ticket and without a connection", e)
	}
	seen := untilList(list, "Grace Guest")[0]
	if seen.GetId() != e.GetId() || seen.GetTicket() != "" || seen.GetConnection() != nil || seen.GetAuthenticated() || seen.GetUser() != nil {
		t.Errorf("the host sees %v", seen)
	}
	select {
	case message := <-told:
		if message != `usher  {"type":"participantWaiting"}` {
			t.Errorf("the call was told %q", message)
		}
	case <-time.After(20 * time.Second):
		t.Error("the call was not told that somebody waits")
	}

	stream := watchEntry(t, guest, room.GetId(), e.GetTicket())
	untilEntry(stream, waiting)
	decided := must[*usherv1.DecideEntryResponse](t)(host.DecideEntry(t.Context(), &usherv1.DecideEntryRequest{
		Room: room.GetId(), EntryId: e.GetId(), Etag: seen.GetEtag(), Decision: allow,
	})).GetEntry()
	if decided.GetStatus() != accepted || decided.GetConnection() != nil || decided.GetTicket() != "" {
		t.Errorf("the host got %v", decided)
	}
	in := untilEntry(stream, accepted)
	if err := stream.end(); err != nil {
		t.Errorf("the stream ended with %v after the decision", err)
	}
	if stream.header.Get("X-Accel-Buffering") != "no" {
		t.Error("proxies may hold the stream back")
	}
	untilList(list)
	again := one.knock(two.clients(), room.GetId(), "Somebody Else", e.GetTicket())
	if again.GetStatus() != accepted || again.GetDisplayName() != "Grace Guest" ||
		again.GetConnection().GetParticipantIdentity() != in.GetConnection().GetParticipantIdentity() {
		t.Errorf("asking again gives %v, want the same admission", again)
	}
	p := participant.Join(t, in.GetConnection().GetServerUrl(), in.GetConnection().GetToken())
	if p.Room.LocalParticipant.Name() != "Grace Guest" || p.Identity() != in.GetConnection().GetParticipantIdentity() {
		t.Errorf("joined as %q %q", p.Room.LocalParticipant.Name(), p.Identity())
	}
	// Within the meeting, a connection can be renewed.
	renewed := must[*usherv1.RenewConnectionResponse](t)(one.clients(bearer(in.GetConnection().GetSessionToken())).
		RenewConnection(t.Context(), &usherv1.RenewConnectionRequest{})).GetConnection()
	if renewed.GetParticipantIdentity() != p.Identity() {
		t.Errorf("renewed as %q, want %q", renewed.GetParticipantIdentity(), p.Identity())
	}
	// Everybody can know that a host is there, some seconds later at most.
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if one.knock(guest, room.GetId(), "", e.GetTicket()).GetHostPresent() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no host is there although one is in the call")
		}
	}
	// Callers who may enter directly need no branch.
	direct := two.knock(host, room.GetId(), "Countess", "")
	if direct.GetStatus() != accepted || direct.GetConnection().GetToken() == "" || direct.GetTicket() != "" || direct.GetId() != "" {
		t.Errorf("the host asks for entry and gets %v", direct)
	}
	wantNobody(t, one, host, room.GetId())
}

func wantNobody(t testing.TB, i *instance, host *clients, room string) {
	t.Helper()
	if got := i.list(host, room); len(got) != 0 {
		t.Errorf("waiting are %q, want nobody", got)
	}
}

// A ticket opens its own entry in its own room, and nothing else opens it.
func TestTicketsAreNotTransferable(t *testing.T) {
	t.Parallel()
	i := start(t)
	ada := i.user("Ada Of Tickets")
	room, other := i.restricted(ada), i.restricted(ada)
	c := i.clients()
	e := i.knock(c, room.GetId(), "Grace Guest", "")
	another := must[string](t)(i.Keys.SignTicket(&auth.LobbyTicket{
		RoomID: uuid.MustParse(room.GetId()), EntryID: uuid.MustParse(e.GetId()), Secret: auth.NewTicketSecret(), ExpireTime: time.Now().Add(time.Hour),
	}))
	parts := strings.Split(e.GetTicket(), ".")
	for name, attempt := range map[string]struct{ room, ticket string }{
		"in another room":       {other.GetId(), e.GetTicket()},
		"the public id":         {room.GetId(), strings.ToUpper(e.GetId())}, // another spelling: the logs may hold ids
		"cut short":             {room.GetId(), e.GetTicket()[:len(e.GetTicket())-4]},
		"another signature":     {room.GetId(), parts[0] + "." + parts[1] + ".AAAA"},
		"another secret":        {room.GetId(), another},
		"an API token":          {room.GetId(), i.apiToken(ada, "rooms")},
		"without any structure": {room.GetId(), "test-ticket"},
	} {
		_, err := c.RequestEntry(t.Context(), &usherv1.RequestEntryRequest{Room: attempt.room, Ticket: attempt.ticket})
		if reason(err) != "TICKET_INVALID" {
			t.Errorf("%s: RequestEntry: %v, want TICKET_INVALID", name, err)
		}
		_, err = c.CancelEntry(t.Context(), &usherv1.CancelEntryRequest{Room: attempt.room, Ticket: attempt.ticket})
		if reason(err) != "TICKET_INVALID" {
			t.Errorf("%s: CancelEntry: %v, want TICKET_INVALID", name, err)
		}
		if err := watchEntry(t, c, attempt.room, attempt.ticket).end(); reason(err) != "TICKET_INVALID" {
			t.Errorf("%s: WatchEntry: %v, want TICKET_INVALID", name, err)
		}
	}
	// A ticket is no credential.
	_, err := i.clients(bearer(e.GetTicket())).GetConfig(t.Context(), &usherv1.GetConfigRequest{})
	wantReason(t, err, "UNAUTHENTICATED")
	host := i.clients(bearer(i.apiToken(ada, "rooms")))
	if got := i.list(host, room.GetId()); len(got) != 1 {
		t.Errorf("waiting are %q, want the guest", got)
	}
	wantNobody(t, i, host, other.GetId())
	must[*usherv1.CancelEntryResponse](t)(c.CancelEntry(t.Context(), &usherv1.CancelEntryRequest{Room: room.GetId(), Ticket: e.GetTicket()}))
	wantNobody(t, i, host, room.GetId())
}

// A decision is about what was shown: another name needs another look, and nobody else is decided about.
func TestDecideOnlyWhatWasSeen(t *testing.T) {
	t.Parallel()
	i := start(t)
	ada := i.user("Ada Of Decisions")
	room := i.restricted(ada)
	host, guest := i.clients(bearer(i.apiToken(ada, "rooms"))), i.clients()
	e := i.knock(guest, room.GetId(), "Grace Guest", "")
	renamed := i.knock(guest, room.GetId(), "Chief\u202e Officer\x00", e.GetTicket())
	if renamed.GetDisplayName() != "Chief Officer" || renamed.GetId() != e.GetId() {
		t.Errorf("renamed = %v", renamed)
	}
	decide := func(id, etag string, d usherv1.Decision) error {
		_, err := host.DecideEntry(t.Context(), &usherv1.DecideEntryRequest{Room: room.GetId(), EntryId: id, Etag: etag, Decision: d})
		return err
	}
	wantReason(t, decide(e.GetId(), e.GetEtag(), allow), "CONFLICT")
	late := i.knock(guest, room.GetId(), "Late Guest", "")
	gone := &usherv1.ShownEntry{Id: uuid.NewString(), Etag: "test-etag"}
	decideAll := func(seen ...*usherv1.ShownEntry) *usherv1.DecideAllEntriesResponse {
		return must[*usherv1.DecideAllEntriesResponse](t)(host.DecideAllEntries(t.Context(), &usherv1.DecideAllEntriesRequest{
			Room: room.GetId(), Entries: seen, Decision: allow,
		}))
	}
	if all := decideAll(append(shown(e), gone)...); len(all.GetDecided()) != 0 || !slices.Equal(all.GetSkipped(), []string{e.GetId(), gone.GetId()}) {
		t.Errorf("with the name of before decided %v, want nobody", all)
	}
	if all := decideAll(append(shown(renamed), gone)...); !slices.Equal(all.GetDecided(), []string{e.GetId()}) || !slices.Equal(all.GetSkipped(), []string{gone.GetId()}) {
		t.Errorf("decided %v", all)
	}
	for what, request := range map[string]*usherv1.DecideAllEntriesRequest{
		"entry_ids": {EntryIds: []string{late.GetId()}, Entries: shown(late)}, "entries": {}, "twice": {Entries: shown(late, late)},
	} {
		request.Room, request.Decision = room.GetId(), allow
		_, err := host.DecideAllEntries(t.Context(), request)
		if wantReason(t, err, "INVALID_REQUEST"); !strings.Contains(err.Error(), what) {
			t.Errorf("%s: refused with %q", what, err)
		}
	}
	if got := i.list(host, room.GetId()); len(got) != 1 || got[0] != "Late Guest" {
		t.Errorf("waiting are %q, want who was not shown", got)
	}
	wantReason(t, decide(e.GetId(), renamed.GetEtag(), allow), "")
	wantReason(t, decide(e.GetId(), renamed.GetEtag(), deny), "ENTRY_ALREADY_DECIDED")
	wantReason(t, decide(late.GetId(), late.GetEtag(), deny), "")
	if again := i.knock(guest, room.GetId(), "", late.GetTicket()); again.GetStatus() != denied || again.GetConnection() != nil {
		t.Errorf("who was turned away asks again: %v", again)
	}
	wantReason(t, decide(uuid.NewString(), "test-etag", allow), "ENTRY_NOT_FOUND")
}

// shown are entries as a host saw them.
func shown(entries ...*usherv1.Entry) []*usherv1.ShownEntry {
	seen := make([]*usherv1.ShownEntry, 0, len(entries))
	for _, e := range entries {
		seen = append(seen, &usherv1.ShownEntry{Id: e.GetId(), Etag: e.GetEtag()})
	}
	return seen
}

// Whoever is signed out everywhere while they wait is admitted by nothing that they left open.
func TestSignedOutGuestIsNotAdmitted(t *testing.T) {
	t.Parallel()
	i := start(t)
	ada, grace := i.user("Ada Admits"), i.user("Grace Signs Out")
	room := i.restricted(ada)
	host, cookie := i.clients(bearer(i.apiToken(ada, "rooms"))), i.session(grace)
	guest := i.clients(header("Cookie", cookie.Name+"="+cookie.Value))
	e := i.knock(guest, room.GetId(), "", "")
	stream := watchEntry(t, guest, room.GetId(), e.GetTicket())
	untilEntry(stream, waiting)
	sessions := &auth.Sessions{Redis: i.Redis, IdleTimeout: time.Hour, MaxAge: time.Hour}
	if err := sessions.EndAll(t.Context(), grace.ID); err != nil {
		t.Fatal(err)
	}
	i.decide(host, room.GetId(), e, allow)
	wantReason(t, stream.end(), "SESSION_ENDED")
	// Nor does the ticket admit somebody else, or nobody in particular, as that account.
	for name, other := range map[string]*clients{"a stranger": i.clients(), "another account": host} {
		_, err := other.RequestEntry(t.Context(), &usherv1.RequestEntryRequest{Room: room.GetId(), Ticket: e.GetTicket()})
		if reason(err) != "TICKET_INVALID" {
			t.Errorf("%s with the ticket: %v", name, err)
		}
		_, err = other.CancelEntry(t.Context(), &usherv1.CancelEntryRequest{Room: room.GetId(), Ticket: e.GetTicket()})
		wantReason(t, err, "TICKET_INVALID")
	}
	again := i.clients(bearer(i.apiToken(grace, "rooms")))
	if e := i.knock(again, room.GetId(), "", e.GetTicket()); e.GetConnection() == nil {
		t.Errorf("signed in again they are %v", e)
	}
}

// Who waits is let in when the room opens for them: on streams and when they poll.
func TestAccessLevelChangeMovesWaiting(t *testing.T) {
	t.Parallel()
	i := start(t)
	ada := i.user("Ada Of Levels")
	room := i.restricted(ada)
	host := i.clients(bearer(i.apiToken(ada, "rooms")))
	guest, signedIn := i.clients(), i.clients(bearer(i.apiToken(i.user("Signed In"), "rooms")))
	member := i.user("Member Soon")
	anonymous := i.knock(guest, room.GetId(), "Anonymous Guest", "")
	known := i.knock(signedIn, room.GetId(), "", "")
	joins := i.clients(bearer(i.apiToken(member, "rooms")))
	soon := i.knock(joins, room.GetId(), "", "")
	if known.GetDisplayName() != "Signed In" {
		t.Errorf("the name is %q, want the account's", known.GetDisplayName())
	}
	anonymousStream := watchEntry(t, guest, room.GetId(), anonymous.GetTicket())
	// A ticket of somebody who is signed in is good with their credential only.
	knownStream := watchEntry(t, signedIn, room.GetId(), known.GetTicket())
	soonStream := watchEntry(t, joins, room.GetId(), soon.GetTicket())
	for _, w := range []*watch[usherv1.WatchEntryResponse]{anonymousStream, knownStream, soonStream} {
		untilEntry(w, waiting)
	}
	set := func(level usherv1.AccessLevel) {
		must[*usherv1.UpdateRoomResponse](t)(host.UpdateRoom(t.Context(), &usherv1.UpdateRoomRequest{Room: &usherv1.Room{Id: room.GetId(), AccessLevel: level}}))
	}
	must[*usherv1.AddMemberResponse](t)(host.AddMember(t.Context(), &usherv1.AddMemberRequest{
		Room: room.GetId(), Role: usherv1.Role_ROLE_MEMBER, Identifier: &usherv1.AddMemberRequest_UserId{UserId: member.ID.String()},
	}))
	if e := untilEntry(soonStream, accepted); e.GetConnection().GetToken() == "" {
		t.Error("the new member has no connection")
	}
	set(usherv1.AccessLevel_ACCESS_LEVEL_TRUSTED)
	if e := untilEntry(knownStream, accepted); e.GetConnection().GetToken() == "" {
		t.Error("who was let in by the change has no connection")
	}
	if got := i.list(host, room.GetId()); len(got) != 1 || got[0] != "Anonymous Guest" {
		t.Errorf("waiting are %q, want the one without an account", got)
	}
	set(usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC)
	streamed := untilEntry(anonymousStream, accepted)
	polled := i.knock(guest, room.GetId(), "", anonymous.GetTicket())
	if polled.GetConnection().GetParticipantIdentity() != streamed.GetConnection().GetParticipantIdentity() {
		t.Errorf("polling gives another identity than the stream")
	}
	wantNobody(t, i, host, room.GetId())
	_, err := host.DecideEntry(t.Context(), &usherv1.DecideEntryRequest{Room: room.GetId(), EntryId: anonymous.GetId(), Etag: anonymous.GetEtag(), Decision: deny})
	wantReason(t, err, "NO_LOBBY")

	// A room that is gone has no lobby either.
	set(usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED)
	last := watchEntry(t, guest, room.GetId(), i.knock(guest, room.GetId(), "Last Guest", "").GetTicket())
	untilEntry(last, waiting)
	must[*usherv1.DeleteRoomResponse](t)(host.DeleteRoom(t.Context(), &usherv1.DeleteRoomRequest{Room: room.GetId()}))
	if err := last.end(); err != nil && reason(err) != "ROOM_NOT_FOUND" {
		t.Errorf("the stream in a deleted room ended with %v", err)
	}
}

// A host who loses the right stops seeing who waits.
func TestDemotedHostStopsWatching(t *testing.T) {
	t.Parallel()
	i := start(t)
	ada, bob := i.user("Ada Of Demotion"), i.user("Bob Of Demotion")
	room := i.restricted(ada)
	owner := i.clients(bearer(i.apiToken(ada, "rooms")))
	must[*usherv1.AddMemberResponse](t)(owner.AddMember(t.Context(), &usherv1.AddMemberRequest{
		Room: room.GetId(), Role: usherv1.Role_ROLE_ADMINISTRATOR, Identifier: &usherv1.AddMemberRequest_UserId{UserId: bob.ID.String()},
	}))
	stream := watchWaiting(t, i.clients(bearer(i.apiToken(bob, "rooms"))), room.GetId())
	untilList(stream)
	must[*usherv1.UpdateMemberResponse](t)(owner.UpdateMember(t.Context(), &usherv1.UpdateMemberRequest{
		Room: room.GetId(), Role: usherv1.Role_ROLE_MEMBER, Identifier: &usherv1.UpdateMemberRequest_UserId{UserId: bob.ID.String()},
	}))
	demoted := time.Now()
	if err := stream.end(); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("the stream ended with %v, want PERMISSION_DENIED", err)
	}
	if took := time.Since(demoted); took > 15*time.Second {
		t.Errorf("it ended after %v, want 5 s on a machine that has nothing else to do", took)
	}
	n := must[int](t)(i.DB.Read.Member.Query().Where(entmember.RoomID(uuid.MustParse(room.GetId()))).Count(t.Context()))
	if n != 2 {
		t.Errorf("%d members, want both", n)
	}
}

// A server that stops tells its streams, and does not wait for them.
func TestStreamsEndWithTheServer(t *testing.T) {
	t.Parallel()
	i := start(t)
	two := i.sibling()
	ada := i.user("Ada Of Draining")
	room := i.restricted(ada)
	host := two.clients(bearer(i.apiToken(ada, "rooms")))
	e := i.knock(two.clients(), room.GetId(), "Grace Guest", "")
	guestStream, hostStream := watchEntry(t, two.clients(), room.GetId(), e.GetTicket()), watchWaiting(t, host, room.GetId())
	untilEntry(guestStream, waiting)
	untilList(hostStream, "Grace Guest")
	begin := time.Now()
	if err := two.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("stopping took %v", took)
	}
	stopping := usherv1.ClosingReason_CLOSING_REASON_SERVER_STOPPING
	guestStream.until("closing", func(m *usherv1.WatchEntryResponse) bool { return m.GetClosing().GetReason() == stopping })
	hostStream.until("closing", func(m *usherv1.WatchWaitingResponse) bool { return m.GetClosing().GetReason() == stopping })
	// On another server they lost nothing.
	untilEntry(watchEntry(t, i.clients(), room.GetId(), e.GetTicket()), waiting)
}

// Streams that are too many are refused.
func TestStreamLimits(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *settings.Config) { c.Streams.PerTicket, c.Streams.PerUser = 2, 1 })
	ada := i.user("Ada Of Limits")
	room := i.restricted(ada)
	e := i.knock(i.clients(), room.GetId(), "Grace Guest", "")
	var streams []*watch[usherv1.WatchEntryResponse]
	for range 2 {
		w := watchEntry(t, i.clients(), room.GetId(), e.GetTicket())
		untilEntry(w, waiting)
		streams = append(streams, w)
	}
	if err := watchEntry(t, i.clients(), room.GetId(), e.GetTicket()).end(); reason(err) != "RATE_LIMITED" {
		t.Errorf("a third stream: %v, want RATE_LIMITED", err)
	}
	streams[0].Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		w := watchEntry(t, i.clients(), room.GetId(), e.GetTicket())
		if m, open := <-w.messages; open && m.GetEntry() != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a stream that was closed still counts")
		}
	}
	host := i.clients(bearer(i.apiToken(ada, "rooms")))
	untilList(watchWaiting(t, host, room.GetId()), "Grace Guest")
	if err := watchWaiting(t, host, room.GetId()).end(); reason(err) != "RATE_LIMITED" {
		t.Errorf("a second stream of the user: %v, want RATE_LIMITED", err)
	}
}

// A stream reaches its age and the next one goes on where it was.
func TestStreamMaxAge(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *settings.Config) {
		c.Streams.MaxAge, c.Streams.Heartbeat = 2*time.Second, 300*time.Millisecond
	})
	ada := i.user("Ada Of Ages")
	room := i.restricted(ada)
	e := i.knock(i.clients(), room.GetId(), "Grace Guest", "")
	w := watchEntry(t, i.clients(), room.GetId(), e.GetTicket())
	w.until("heartbeat", func(m *usherv1.WatchEntryResponse) bool { return m.GetHeartbeat() != nil })
	w.until("closing", func(m *usherv1.WatchEntryResponse) bool {
		return m.GetClosing().GetReason() == usherv1.ClosingReason_CLOSING_REASON_MAX_AGE
	})
	if err := w.end(); err != nil {
		t.Error(err)
	}
	again := untilEntry(watchEntry(t, i.clients(), room.GetId(), e.GetTicket()), waiting)
	if !again.GetRequestTime().AsTime().Equal(e.GetRequestTime().AsTime()) || again.GetEtag() != e.GetEtag() {
		t.Errorf("after the closing: %v, want %v", again, e)
	}
}

// An empty Redis, as after a loss of its data: who waited knocks again by themselves and keeps their place, and nobody is
// let in who was not.
func TestRedisRestart(t *testing.T) {
	t.Parallel()
	var redis *testenv.RedisServer
	i := start(t, func(c *settings.Config) {
		redis = testenv.Redis(t)
		c.Redis.Addresses = []string{redis.Address}
		c.Streams.Heartbeat = 500 * time.Millisecond
	})
	client := redis.Client(t)
	ada := i.user("Ada Of Restarts")
	room := i.restricted(ada)
	host := i.clients(bearer(i.apiToken(ada, "rooms")))
	var streams []*watch[usherv1.WatchEntryResponse]
	var tickets []string
	names := []string{"First Guest", "Second Guest", "Third Guest"}
	for _, name := range names {
		e := i.knock(i.clients(), room.GetId(), name, "")
		w := watchEntry(t, i.clients(), room.GetId(), e.GetTicket())
		untilEntry(w, waiting)
		streams, tickets = append(streams, w), append(tickets, e.GetTicket())
	}
	list := watchWaiting(t, host, room.GetId())
	untilList(list, names...)
	if err := client.Do(t.Context(), client.B().Flushall().Build()).Error(); err != nil {
		t.Fatal(err)
	}
	redis.Kill()
	_, err := i.clients().RequestEntry(t.Context(), &usherv1.RequestEntryRequest{Room: room.GetId(), DisplayName: "Fourth Guest"})
	wantReason(t, err, "REDIS_UNAVAILABLE")
	_, err = host.ListWaiting(t.Context(), &usherv1.ListWaitingRequest{Room: room.GetId()})
	wantReason(t, err, "REDIS_UNAVAILABLE")
	redis.Restart()
	deadline := time.Now().Add(30 * time.Second)
	for {
		res, err := host.ListWaiting(t.Context(), &usherv1.ListWaitingRequest{Room: room.GetId()})
		if err == nil && strings.Join(entryNames(res.GetEntries()), ",") == strings.Join(names, ",") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the restart: %v, %v; want all in their order", res, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	untilList(list, names...)
	var e *usherv1.Entry
	withRedis(t, func() error {
		res, err := i.clients().RequestEntry(t.Context(), &usherv1.RequestEntryRequest{Room: room.GetId(), Ticket: tickets[1]})
		e = res.GetEntry()
		return err
	})
	if e.GetStatus() != waiting || e.GetDisplayName() != "Second Guest" || e.GetPosition() != 2 {
		t.Errorf("the second is %v, want the second who waits", e)
	}
	// News come again.
	withRedis(t, func() error {
		_, err := host.DecideEntry(t.Context(), &usherv1.DecideEntryRequest{
			Room: room.GetId(), EntryId: e.GetId(), Etag: e.GetEtag(), Decision: allow,
		})
		return err
	})
	untilEntry(streams[1], accepted)
	untilList(list, "First Guest", "Third Guest")
}

// Many knocks: no more wait than may, one network cannot knock without end, and those who wait are not hurt.
func TestKnockFlood(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *settings.Config) {
		c.Lobby.MaxWaiting = 20
		c.Limits.KnockNetwork = ratelimit.Limit{Name: "knock-network", Burst: 30, Period: time.Hour}
		c.Limits.KnockRoom = ratelimit.Limit{Name: "knock-room", Burst: 60, Period: time.Hour}
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	ada := i.user("Ada Of Floods")
	room := i.restricted(ada)
	host := i.clients(bearer(i.apiToken(ada, "rooms")))
	first := i.knock(i.clients(), room.GetId(), "First Guest", "")
	flood := func(networks, each int) map[string]int {
		var mu sync.Mutex
		var group sync.WaitGroup
		reasons := map[string]int{}
		for n := range networks {
			c := i.clients(header("X-Forwarded-For", fmt.Sprintf("192.0.%d.1", n)))
			group.Go(func() {
				for range each {
					_, err := c.RequestEntry(t.Context(), &usherv1.RequestEntryRequest{Room: room.GetId(), DisplayName: "Flood"})
					mu.Lock()
					reasons[reason(err)]++
					mu.Unlock()
				}
			})
		}
		group.Wait()
		return reasons
	}
	if got, want := flood(1, 50), (map[string]int{"": 19, "LOBBY_FULL": 11, "RATE_LIMITED": 20}); !maps.Equal(got, want) {
		t.Errorf("from one network: %v, want %v", got, want)
	}
	got := flood(10, 20)
	if got[""] != 0 || got["LOBBY_FULL"] > 60 || got["LOBBY_FULL"]+got["RATE_LIMITED"] != 200 {
		t.Errorf("from many networks: %v, want nobody else in", got)
	}
	if waiting := i.list(host, room.GetId()); len(waiting) != 20 || waiting[0] != "First Guest" {
		t.Errorf("%d wait, the first is %q", len(waiting), waiting[0])
	}
	if e := i.knock(i.clients(), room.GetId(), "", first.GetTicket()); e.GetStatus() != waiting || e.GetPosition() != 1 {
		t.Errorf("who waited before is %v", e)
	}
}

// Knocks that their network's limit refuses leave the room's limit to others.
func TestKnockFlood_otherNetworks(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *settings.Config) {
		c.Limits.KnockNetwork = ratelimit.Limit{Name: "knock-network", Burst: 5, Period: time.Hour}
		c.Limits.KnockRoom = ratelimit.Limit{Name: "knock-room", Burst: 66, Period: time.Hour}
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	room := i.restricted(i.user("Ada Of Networks"))
	knock := func(network, guest string) error {
		c := i.clients(header("X-Forwarded-For", network))
		_, err := c.RequestEntry(t.Context(), &usherv1.RequestEntryRequest{Room: room.GetId(), DisplayName: guest})
		return err
	}
	refused := 0
	for range 100 {
		if err := knock("192.0.2.1", "Flood"); reason(err) == "RATE_LIMITED" {
			refused++
		}
	}
	if refused != 95 {
		t.Errorf("%d of 100 knocks from one network were refused, want 95", refused)
	}
	for n := range 60 {
		if err := knock(fmt.Sprintf("198.51.%d.1", n), "Honest Guest"); err != nil {
			t.Fatalf("honest knock %d of 60: %v", n+1, err)
		}
	}
	signedIn := i.clients(header("X-Forwarded-For", "192.0.2.1"), bearer(i.apiToken(i.user("Grace Of Networks"), "rooms")))
	if e := i.knock(signedIn, room.GetId(), "", ""); e.GetStatus() != waiting {
		t.Errorf("somebody who is signed in on the network that floods: %v, want them waiting", e)
	}
}

// A guest whose machine vanished without a word, on HTTP/2, is out within 45 s, and those who are there are not.
func TestVanishedGuest(t *testing.T) {
	t.Parallel()
	i := start(t)
	ada := i.user("Ada Of Vanishing")
	room := i.restricted(ada)
	host := i.clients(bearer(i.apiToken(ada, "rooms")))
	proxy := testenv.NewProxy(t, strings.TrimPrefix(i.URL, "http://"))
	e, stays := i.knock(i.clients(), room.GetId(), "Vanishing Guest", ""), i.knock(i.clients(), room.GetId(), "Staying Guest", "")
	through := *i
	through.URL = "http://" + proxy.Address
	vanishing := watchEntry(t, through.clientsOver(h2c(t)), room.GetId(), e.GetTicket())
	staying := watchEntry(t, i.clientsOver(h2c(t)), room.GetId(), stays.GetTicket())
	untilEntry(vanishing, waiting)
	untilEntry(staying, waiting)
	list := watchWaiting(t, host, room.GetId())
	untilList(list, "Vanishing Guest", "Staying Guest")
	proxy.Silence()
	vanished := time.Now()
	untilList(list, "Staying Guest")
	if took := time.Since(vanished); took > 45*time.Second || took < 15*time.Second {
		t.Errorf("out after %v, want 45 s at most", took)
	}
}

// withRedis makes a call until it no longer meets a connection to a Redis that is gone: each of the client's connections
// finds out by itself, and the call that finds out is refused.
func withRedis(t *testing.T, call func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := call()
		if err == nil {
			return
		}
		if reason(err) != "REDIS_UNAVAILABLE" || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
