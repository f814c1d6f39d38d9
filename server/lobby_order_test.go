package server_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/internal/testenv/participant"
	"github.com/usher-meet/usher/server/settings"
)

// decide makes a decision about an entry as it is shown.
func (i *instance) decide(host *clients, room string, e *usherv1.Entry, d usherv1.Decision) {
	i.t.Helper()
	must[*usherv1.DecideEntryResponse](i.t)(host.DecideEntry(i.t.Context(), &usherv1.DecideEntryRequest{
		Room: room, EntryId: e.GetId(), Etag: e.GetEtag(), Decision: d,
	}))
}

// admitted knocks and is let in.
func (i *instance) admitted(host, guest *clients, room, name string) *usherv1.Entry {
	i.t.Helper()
	e := i.knock(guest, room, name, "")
	i.decide(host, room, e, allow)
	in := i.knock(guest, room, "", e.GetTicket())
	if in.GetStatus() != accepted || in.GetConnection() == nil {
		i.t.Fatalf("after the admission: %v", in.GetStatus())
	}
	return in
}

// Removing somebody voids all that they held: ticket and entry, session token, LiveKit token. They may ask again as somebody
// else, unless they are kept out.
func TestRemovedTicketIsDead(t *testing.T) {
	t.Parallel()
	i := start(t)
	two := i.sibling()
	ada := i.user("Ada Of Removals")
	room := i.restricted(ada).GetId()
	host, guest := i.clients(bearer(i.apiToken(ada, "rooms"))), two.clients()
	i.join(t, host, room)
	e := i.admitted(host, guest, room, "Grace Guest")
	inside := participant.Join(t, e.GetConnection().GetServerUrl(), e.GetConnection().GetToken())
	remove := func(identity string, block time.Duration) {
		t.Helper()
		must[*usherv1.RemoveParticipantResponse](t)(host.RemoveParticipant(t.Context(), &usherv1.RemoveParticipantRequest{
			Room: room, ParticipantIdentity: identity, BlockDuration: durationpb.New(block),
		}))
	}
	remove(inside.Identity(), 0)
	inside.WaitGone()
	dead := func(c *clients, ticket string) {
		t.Helper()
		_, err := c.RequestEntry(t.Context(), &usherv1.RequestEntryRequest{Room: room, DisplayName: "Grace Guest", Ticket: ticket})
		wantReason(t, err, "TICKET_INVALID")
		if err := watchEntry(t, c, room, ticket).end(); reason(err) != "TICKET_INVALID" {
			t.Errorf("the stream of a void ticket ended with %v", err)
		}
	}
	dead(guest, e.GetTicket())
	_, err := two.clients(bearer(e.GetConnection().GetSessionToken())).RenewConnection(t.Context(), &usherv1.RenewConnectionRequest{})
	wantReason(t, err, "PARTICIPANT_BLOCKED")
	if back, err := participant.TryJoin(t, e.GetConnection().GetServerUrl(), e.GetConnection().GetToken()); err == nil {
		back.WaitGone()
	}
	again := i.knock(guest, room, "Grace Guest", "")
	if again.GetStatus() != waiting || again.GetId() == e.GetId() {
		t.Errorf("who was removed asks again: %v, want a new entry that waits", again.GetStatus())
	}

	// With a block the account is out on all devices, those that wait too.
	bob := i.user("Bob Of Removals")
	signedIn := two.clients(bearer(i.apiToken(bob, "rooms")))
	first := i.admitted(host, signedIn, room, "Bob Of Removals")
	second := i.knock(signedIn, room, "Bob Of Removals", "")
	stream := watchEntry(t, signedIn, room, second.GetTicket())
	untilEntry(stream, waiting)
	inside = participant.Join(t, first.GetConnection().GetServerUrl(), first.GetConnection().GetToken())
	remove(inside.Identity(), time.Hour)
	inside.WaitGone()
	if err := stream.end(); reason(err) != "TICKET_INVALID" {
		t.Errorf("the stream of another device ended with %v, want TICKET_INVALID", err)
	}
	dead(guest, first.GetTicket())
	dead(guest, second.GetTicket())
	for _, ticket := range []string{"", first.GetTicket()} {
		_, err := signedIn.RequestEntry(t.Context(), &usherv1.RequestEntryRequest{Room: room, Ticket: ticket})
		wantReason(t, err, "PARTICIPANT_BLOCKED")
	}
	if got := i.list(host, room); len(got) != 1 || got[0] != "Grace Guest" {
		t.Errorf("waiting are %q, want the one who may ask again", got)
	}
}

// A meeting that is over takes its lobby with it: streams are told, admissions end, and a denial stays. Who asks since then
// waits for the next meeting.
func TestRoomFinishedClears(t *testing.T) {
	t.Parallel()
	i := start(t)
	two := i.sibling()
	ada := i.user("Ada Of Endings")
	room := i.restricted(ada).GetId()
	host, guest := i.clients(bearer(i.apiToken(ada, "rooms"))), two.clients()
	i.join(t, host, room)
	in := i.admitted(host, guest, room, "Admitted Guest")
	refused := i.knock(guest, room, "Refused Guest", "")
	i.decide(host, room, refused, deny)
	waits := i.knock(guest, room, "Waiting Guest", "")
	stream := watchEntry(t, guest, room, waits.GetTicket())
	untilEntry(stream, waiting)
	list := watchWaiting(t, host, room)
	untilList(list, "Waiting Guest")
	end := func() {
		t.Helper()
		must[*usherv1.EndMeetingResponse](t)(host.EndMeeting(t.Context(), &usherv1.EndMeetingRequest{Room: room}))
	}
	end()
	stream.until("closing", func(m *usherv1.WatchEntryResponse) bool {
		return m.GetClosing().GetReason() == usherv1.ClosingReason_CLOSING_REASON_LOBBY_CLEARED
	})
	if err := stream.end(); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
	untilList(list)
	for _, e := range []*usherv1.Entry{in, waits} {
		if next := i.knock(guest, room, "", e.GetTicket()); next.GetStatus() != waiting || next.GetConnection() != nil {
			t.Errorf("after the meeting %s is %v, want that they wait", e.GetDisplayName(), next.GetStatus())
		}
	}
	if next := i.knock(guest, room, "", refused.GetTicket()); next.GetStatus() != denied {
		t.Errorf("after the meeting the denial is %v", next.GetStatus())
	}
	_, err := guest.WatchEntry(t.Context(), &usherv1.WatchEntryRequest{Room: room, Ticket: in.GetTicket()})
	if err != nil {
		t.Fatal(err)
	}
	untilList(list, "Admitted Guest", "Waiting Guest")
}

// Every way in which a host's credential ends, ends what they watch.
func TestHostCredentialEnds(t *testing.T) {
	t.Parallel()
	i := start(t)
	ada := i.user("Ada Of Credentials")
	room := i.restricted(ada).GetId()
	sessions := &auth.Sessions{Redis: i.Redis, IdleTimeout: time.Hour, MaxAge: time.Hour}
	tokens := &auth.APITokens{DB: i.DB, Keys: i.Keys}
	token := func(life time.Duration) (string, *ent.APIToken) {
		wish := auth.CreateAPITokenParams{UserID: ada.ID, Name: "test", Scopes: []string{"read"}, ExpireTime: time.Now().Add(life)}
		token, row, err := tokens.Create(t.Context(), wish)
		if err != nil {
			t.Fatal(err)
		}
		i.secrets.add(token)
		return token, row
	}
	cookie := func(c *http.Cookie) *clients { return i.clients(header("Cookie", c.Name+"="+c.Value)) }
	ends := map[string]func() (c *clients, end func() error, reason string){
		"a revoked API token": func() (*clients, func() error, string) {
			token, row := token(time.Hour)
			return i.clients(bearer(token)), func() error { return tokens.Revoke(t.Context(), row.ID) }, "UNAUTHENTICATED"
		},
		"an API token that expires": func() (*clients, func() error, string) {
			token, _ := token(8 * time.Second)
			return i.clients(bearer(token)), func() error { return nil }, "TOKEN_EXPIRED"
		},
		"a logout": func() (*clients, func() error, string) {
			s := i.session(ada)
			return cookie(s), func() error { _, err := sessions.End(t.Context(), s.Value); return err }, "SESSION_ENDED"
		},
	}
	shown := func(m *usherv1.WatchWaitingResponse) bool { return m.GetSnapshot() != nil }
	for name, prepare := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, end, want := prepare()
			stays, stream := watchWaiting(t, i.clients(bearer(i.apiToken(ada, "read"))), room), watchWaiting(t, c, room)
			stays.until("a list", shown)
			stream.until("a list", shown)
			if err := end(); err != nil {
				t.Fatal(err)
			}
			ended := time.Now()
			if err := stream.end(); reason(err) != want {
				t.Errorf("the stream ended with %v, want %s", err, want)
			}
			if took := time.Since(ended); took > 20*time.Second {
				t.Errorf("it ended after %v, want 5 s on a machine that has nothing else to do", took)
			}
			e := i.knock(i.clients(), room, name, "")
			stays.until("the newcomer", func(m *usherv1.WatchWaitingResponse) bool {
				return slices.ContainsFunc(m.GetSnapshot().GetEntries(), func(w *usherv1.Entry) bool { return w.GetId() == e.GetId() })
			})
		})
	}
	t.Run("everywhere", func(t *testing.T) {
		t.Parallel()
		ada := i.user("Ada Everywhere")
		room := i.restricted(ada).GetId()
		one, two := i.session(ada), i.session(ada)
		streams := []*watch[usherv1.WatchWaitingResponse]{watchWaiting(t, cookie(one), room), watchWaiting(t, cookie(two), room)}
		for _, w := range streams {
			w.until("a list", shown)
		}
		if err := sessions.EndAll(t.Context(), ada.ID); err != nil {
			t.Fatal(err)
		}
		for _, w := range streams {
			if err := w.end(); reason(err) != "SESSION_ENDED" {
				t.Errorf("the stream ended with %v, want SESSION_ENDED", err)
			}
		}
	})
}

// Decisions of hosts are in the audit log of the room, once each, with ids and nothing else.
func TestLobbyAudit(t *testing.T) {
	t.Parallel()
	i := start(t)
	ada, bob := i.user("Ada Of Records"), i.user("Bob Of Records")
	room := i.restricted(ada).GetId()
	host, guest := i.clients(bearer(i.apiToken(ada, "rooms"))), i.clients()
	in := i.knock(guest, room, "Admitted Guest", "")
	out := i.knock(i.clients(bearer(i.apiToken(bob, "rooms"))), room, "Denied Guest", "")
	more := []*usherv1.Entry{i.knock(guest, room, "One Of All", ""), i.knock(guest, room, "Another Of All", "")}
	i.decide(host, room, in, allow)
	i.decide(host, room, in, allow) // the same decision again is no other one
	_, err := host.DecideEntry(t.Context(), &usherv1.DecideEntryRequest{Room: room, EntryId: in.GetId(), Etag: in.GetEtag(), Decision: deny})
	wantReason(t, err, "ENTRY_ALREADY_DECIDED")
	must[*usherv1.DecideEntryResponse](t)(host.DecideEntry(t.Context(), &usherv1.DecideEntryRequest{
		Room: room, EntryId: out.GetId(), Etag: out.GetEtag(), Decision: deny, BlockDuration: durationpb.New(time.Hour),
	}))
	for range 2 {
		must[*usherv1.DecideAllEntriesResponse](t)(host.DecideAllEntries(t.Context(), &usherv1.DecideAllEntriesRequest{
			Room: room, Entries: shown(in, more[0], more[1], out), Decision: allow,
		}))
	}
	identity := i.knock(guest, room, "", in.GetTicket()).GetConnection().GetParticipantIdentity()
	var got []string
	events := must[*usherv1.ListAuditEventsResponse](t)(host.ListAuditEvents(t.Context(), &usherv1.ListAuditEventsRequest{Room: room})).GetEvents()
	for _, e := range events {
		if e.GetActorUserId() != ada.ID.String() {
			t.Errorf("%s was done by %q", e.GetAction(), e.GetActorUserId())
		}
		detail := []string{}
		for _, pair := range strings.Fields(e.GetDetail()) {
			key, value, _ := strings.Cut(pair, "=")
			switch {
			case key == "decided", key == "identity" && value != identity:
				pair = key
			}
			detail = append(detail, pair)
		}
		got = append(got, e.GetAction()+" "+e.GetTarget()+" "+strings.Join(detail, " "))
	}
	want := []string{
		"entry.admitted entry:" + more[1].GetId() + " identity decided",
		"entry.admitted entry:" + more[0].GetId() + " identity decided",
		"entry.denied entry:" + out.GetId() + " identity user=" + bob.ID.String() + " block=3600 decided",
		"entry.admitted entry:" + in.GetId() + " identity=" + identity + " decided",
		"room.created  ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events: -want +got\n%s", diff)
	}

	// A decision that could not be recorded is said, holds, and is recorded when it is made again.
	late := i.knock(guest, room, "Late Guest", "")
	exec := func(query string) {
		t.Helper()
		if _, err := i.DB.SQL().ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	exec("ALTER TABLE audit_events RENAME TO audit_events_gone")
	_, err = host.DecideEntry(t.Context(), &usherv1.DecideEntryRequest{Room: room, EntryId: late.GetId(), Etag: late.GetEtag(), Decision: allow})
	if err == nil {
		t.Error("a decision without a record was answered")
	}
	exec("ALTER TABLE audit_events_gone RENAME TO audit_events")
	i.decide(host, room, late, allow)
	events = must[*usherv1.ListAuditEventsResponse](t)(host.ListAuditEvents(t.Context(), &usherv1.ListAuditEventsRequest{Room: room})).GetEvents()
	if len(events) != len(want)+1 || events[0].GetTarget() != "entry:"+late.GetId() {
		t.Errorf("%d events, the last about %s; want the late guest's", len(events), events[0].GetTarget())
	}
}

// Streams are counted over all servers, and what is open on one that is gone does not count for long.
func TestStreamLimits_shared(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *settings.Config) { c.Streams.PerTicket = 2 })
	two := i.sibling()
	room := i.restricted(i.user("Ada Of Sharing")).GetId()
	e := i.knock(i.clients(), room, "Grace Guest", "")
	streams := map[*instance]*watch[usherv1.WatchEntryResponse]{}
	for _, s := range []*instance{i, two} {
		streams[s] = watchEntry(t, s.clients(), room, e.GetTicket())
		untilEntry(streams[s], waiting)
	}
	for _, s := range []*instance{i, two} {
		if err := watchEntry(t, s.clients(), room, e.GetTicket()).end(); reason(err) != "RATE_LIMITED" {
			t.Errorf("a third stream: %v, want RATE_LIMITED", err)
		}
	}
	if err := two.stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the place of a stream that ended", func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := i.clients().WatchEntry(ctx, &usherv1.WatchEntryRequest{Room: room, Ticket: e.GetTicket()})
		return err == nil && stream.Receive() && stream.Msg().GetEntry().GetId() == e.GetId()
	})
}

// A host who goes away right after deciding has decided, and that is on record.
func TestLobbyAudit_hostLeaves(t *testing.T) {
	t.Parallel()
	for name, decide := range map[string]func(context.Context, *clients, string, *usherv1.Entry) error{
		"one": func(ctx context.Context, host *clients, room string, e *usherv1.Entry) error {
			_, err := host.DecideEntry(ctx, &usherv1.DecideEntryRequest{Room: room, EntryId: e.GetId(), Etag: e.GetEtag(), Decision: allow})
			return err
		},
		"all": func(ctx context.Context, host *clients, room string, e *usherv1.Entry) error {
			_, err := host.DecideAllEntries(ctx, &usherv1.DecideAllEntriesRequest{Room: room, Entries: shown(e), Decision: allow})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := start(t)
			ada := i.user("Ada Of Haste")
			room := i.restricted(ada).GetId()
			host := i.clients(bearer(i.apiToken(ada, "rooms")))
			e := i.knock(i.clients(), room, "Grace Guest", "")
			waiters := func() (n int) {
				const query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
				if err := i.DB.SQL().QueryRowContext(t.Context(), query).Scan(&n); err != nil {
					t.Error(err)
				}
				return n
			}
			err := i.DB.Run(t.Context(), func(tx *ent.Client) error {
				if _, err := auth.LockRoom(t.Context(), tx, room); err != nil {
					return err
				}
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				left := make(chan error, 1)
				go func() { left <- decide(ctx, host, room, e) }()
				eventually(t, "the record to wait for the room", func() bool { return waiters() > 0 })
				leave()
				if err := <-left; err == nil {
					t.Error("the call ended before its host left")
				}
				// The server notices within milliseconds that the host has gone.
				for until := time.Now().Add(time.Second); time.Now().Before(until) && waiters() > 0; {
					time.Sleep(20 * time.Millisecond)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "the decision to be on record", func() bool {
				events := must[*usherv1.ListAuditEventsResponse](t)(host.ListAuditEvents(t.Context(), &usherv1.ListAuditEventsRequest{Room: room})).GetEvents()
				return events[0].GetAction() == "entry.admitted" && events[0].GetTarget() == "entry:"+e.GetId()
			})
		})
	}
}
