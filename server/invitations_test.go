package server_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-ical"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/mailcatcher"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/internal/testenv/phone"
	"github.com/usher-meet/usher/server/settings"
)

// withMail sends through a mail server.
func withMail(s *testenv.SMTPServer) func(*settings.Config) { return mailThrough(s.Port) }

// mailThrough sends through a mail server on a port.
func mailThrough(port int) func(*settings.Config) {
	return func(c *settings.Config) {
		c.Mail = settings.MailConfig{
			Host: "127.0.0.1", Port: port, TLS: settings.MailNoTLS, From: "meet@usher.test", Timeout: 10 * time.Second, PerDomain: 5,
			PerUser: 500, PerInstance: 2000, Sweep: time.Second,
		}
		c.Languages = []string{"en", "fr", "de", "nl"}
		c.Keep.Invitations = 90 * 24 * time.Hour
	}
}

// invitationFixture is a server that sends mail, and a restricted room with its owner.
type invitationFixture struct {
	*instance
	mail  *testenv.SMTPServer
	owner *ent.User
	host  *clients
	room  *usherv1.Room
}

func startInvitationFixture(t *testing.T, o mailcatcher.Options, change ...func(*settings.Config)) *invitationFixture {
	t.Helper()
	mail := testenv.SMTP(t, o)
	i := start(t, append([]func(*settings.Config){withMail(mail)}, change...)...)
	return newInvitationFixture(t, i, mail)
}

// onBoth runs a test on PostgreSQL and on SQLite.
func onBoth(t *testing.T, test func(t *testing.T, onDatabase func(*settings.Config))) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, func(*settings.Config) {}) })
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		address := testenv.SQLiteURL(t)
		test(t, func(c *settings.Config) { c.DatabaseURL = settings.Secret(address) })
	})
}

func newInvitationFixture(t *testing.T, i *instance, mail *testenv.SMTPServer) *invitationFixture {
	t.Helper()
	v := &invitationFixture{instance: i, mail: mail, owner: i.user("Ada Of Invitations")}
	v.host = i.clients(bearer(i.apiToken(v.owner, "rooms", "read", "invitations")))
	v.room = must[*usherv1.CreateRoomResponse](t)(v.host.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{
		Name: "Analytical Engines", AccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_RESTRICTED,
	})).GetRoom()
	return v
}

func recipients(addresses ...string) []*usherv1.Recipient {
	var all []*usherv1.Recipient
	for _, a := range addresses {
		all = append(all, &usherv1.Recipient{Email: a})
	}
	return all
}

// invite invites addresses, who all are.
func (v *invitationFixture) invite(addresses ...string) []*usherv1.Invitation {
	v.t.Helper()
	res := must[*usherv1.CreateInvitationsResponse](v.t)(v.host.CreateInvitations(v.t.Context(), &usherv1.CreateInvitationsRequest{
		Room: v.room.GetId(), Recipients: recipients(addresses...),
	}))
	if len(res.GetInvitations()) != len(addresses) || len(res.GetRefused()) != 0 {
		v.t.Fatalf("%d invited, refused %v", len(res.GetInvitations()), res.GetRefused())
	}
	return res.GetInvitations()
}

// status waits until an invitation stands there.
func (v *invitationFixture) status(id string, want usherv1.InvitationStatus) *usherv1.Invitation {
	v.t.Helper()
	var got *usherv1.Invitation
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		got = must[*usherv1.GetInvitationResponse](v.t)(v.host.GetInvitation(v.t.Context(), &usherv1.GetInvitationRequest{InvitationId: id})).GetInvitation()
		if got.GetStatus() == want {
			return got
		}
	}
	v.t.Fatalf("the invitation is %v after 30 s, want %v", got.GetStatus(), want)
	return nil
}

// read takes a letter apart.
func (v *invitationFixture) read(m mailcatcher.Mail) *mailcatcher.Parts {
	v.t.Helper()
	p, err := m.Read()
	if err != nil {
		v.t.Fatal(err)
	}
	return p
}

var linkPattern = regexp.MustCompile(`http://usher\.test/i/([A-Za-z0-9_-]+)`)

// link is the token of the link in a letter.
func (v *invitationFixture) link(m mailcatcher.Mail) string {
	v.t.Helper()
	p := v.read(m)
	found := linkPattern.FindStringSubmatch(p.Text)
	if found == nil {
		v.t.Fatalf("no link in\n%s", p.Text)
	}
	if !strings.Contains(p.HTML, found[0]) {
		v.t.Errorf("the HTML has another link than the text")
	}
	v.secrets.add(found[1])
	return found[1]
}

// to is the latest letter to an address.
func (v *invitationFixture) to(address string) mailcatcher.Mail {
	v.t.Helper()
	all := v.mail.Mails()
	slices.Reverse(all)
	for _, m := range all {
		if m.To == address {
			return m
		}
	}
	v.t.Fatalf("no letter to that recipient")
	return mailcatcher.Mail{}
}

func (v *invitationFixture) event(m mailcatcher.Mail) (method string, event ical.Event) {
	v.t.Helper()
	p := v.read(m)
	c, err := ical.NewDecoder(strings.NewReader(p.Calendar)).Decode()
	if err != nil {
		v.t.Fatalf("%v in\n%s", err, p.Calendar)
	}
	if len(c.Events()) != 1 {
		v.t.Fatalf("%d events in\n%s", len(c.Events()), p.Calendar)
	}
	method = c.Props.Get("METHOD").Value
	if !strings.Contains(p.CalendarType, "method="+method) {
		v.t.Errorf("the part is %s, and the entry %s", p.CalendarType, method)
	}
	return method, c.Events()[0]
}

// A host invites two people in two languages to a meeting with a time, in a restricted room that can be called.
func TestInvitationEndToEnd(t *testing.T) {
	t.Parallel()
	onBoth(t, testInvitationEndToEnd)
}

func testInvitationEndToEnd(t *testing.T, onDatabase func(*settings.Config)) {
	mail := testenv.SMTP(t, mailcatcher.Options{})
	lk := testenv.NewLiveKit(t, testenv.LiveKitOptions{Redis: testenv.Redis(t)})
	phone.New(t, lk).Trunk("trunk", "+4930100")
	i := startOn(t, lk, withMail(mail), onDatabase)
	v := newInvitationFixture(t, i, mail)
	guest := i.clients()
	begin := time.Now().Add(5 * time.Minute).UTC().Truncate(time.Second)
	invite := func(address, language string, skip bool) *usherv1.Invitation {
		res := must[*usherv1.CreateInvitationsResponse](t)(v.host.CreateInvitations(t.Context(), &usherv1.CreateInvitationsRequest{
			Room: v.room.GetSlug(), Recipients: []*usherv1.Recipient{{Email: address, Language: language}}, Message: "Bring the cards.",
			StartTime: timestamppb.New(begin), EndTime: timestamppb.New(begin.Add(time.Hour)), Timezone: "Europe/Paris", SkipLobby: skip,
		}))
		if len(res.GetInvitations()) != 1 {
			t.Fatalf("got %v", res)
		}
		return res.GetInvitations()[0]
	}
	charles, grace := invite("charles@people.example", "fr", true), invite("grace@other.example", "de", false)
	mail.Wait(2)
	for _, inv := range []*usherv1.Invitation{charles, grace} {
		if got := v.status(inv.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT); got.GetSendTime() == nil {
			t.Error("it was sent at no time")
		}
	}
	toCharles, toGrace := v.to("charles@people.example"), v.to("grace@other.example")
	for m, words := range map[*mailcatcher.Mail][]string{
		&toCharles: {"vous invite", "Par téléphone", "Bring the cards."}, &toGrace: {"lädt Sie", "Per Telefon", "Bring the cards."},
	} {
		p := v.read(*m)
		for _, w := range words {
			if !strings.Contains(p.Subject+p.Text, w) || !strings.Contains(p.Subject+p.HTML, w) {
				t.Errorf("the letter lacks %q:\n%s", w, p.Text)
			}
		}
		if !strings.Contains(p.Text, "+49 30 100") || !regexp.MustCompile(`\d{3} \d{3} \d{3}#`).MatchString(p.Text) {
			t.Errorf("the letter has no number or no PIN:\n%s", p.Text)
		}
		if got := p.Header.Get("List-Unsubscribe"); !strings.HasPrefix(got, "<http://usher.test/-/mail/stop/") {
			t.Errorf("List-Unsubscribe %q", got)
		}
		method, e := v.event(*m)
		if method != "REQUEST" {
			t.Errorf("the entry is a %s", method)
		}
		if at, err := e.DateTimeStart(time.UTC); err != nil || !at.Equal(begin) {
			t.Errorf("the entry begins %v (%v), want %v", at, err, begin)
		}
	}
	charlesToken, graceToken := v.link(toCharles), v.link(toGrace)
	resolved := must[*usherv1.ResolveInvitationResponse](t)(guest.ResolveInvitation(t.Context(), &usherv1.ResolveInvitationRequest{Token: charlesToken}))
	if resolved.GetRoom().GetId() != v.room.GetId() || resolved.GetInviterDisplayName() != v.owner.FullName || !resolved.GetSkipLobby() ||
		!resolved.GetStartTime().AsTime().Equal(begin) || resolved.GetDialIn().GetPin() == "" || resolved.GetWebUrl() != v.room.GetWebUrl() {
		t.Errorf("resolved to %v", resolved)
	}
	must[*usherv1.RespondInvitationResponse](t)(guest.RespondInvitation(t.Context(), &usherv1.RespondInvitationRequest{
		Token: charlesToken, Response: usherv1.Attendance_ATTENDANCE_YES,
	}))
	if got := v.status(charles.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT).GetResponse(); got != usherv1.Attendance_ATTENDANCE_YES {
		t.Errorf("the host sees the answer %v", got)
	}

	// With skip_lobby they are in, and a second use replaces the first.
	first := joined(t, v.enterInvited(t, guest, charlesToken, "Charles"))
	connection := must[*usherv1.JoinRoomResponse](t)(guest.JoinRoom(t.Context(), &usherv1.JoinRoomRequest{
		Room: v.room.GetId(), DisplayName: "Charles Again", InvitationToken: charlesToken,
	})).GetConnection()
	second := joined(t, connection)
	first.WaitGone()
	if first.Identity() != second.Identity() {
		t.Error("one link has two identities")
	}
	people := must[*usherv1.ListParticipantsResponse](t)(v.host.ListParticipants(t.Context(), &usherv1.ListParticipantsRequest{Room: v.room.GetId()})).GetParticipants()
	if len(people) != 1 || !people[0].GetInvited() {
		t.Errorf("the host sees %v, want one who is invited", people)
	}
	if got := v.status(charles.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT).GetAdmissionCount(); got != 2 {
		t.Errorf("%d admissions are counted, want 2", got)
	}
	v.wantAudit(t, "invitation.used", 2)

	// After revoke the link says so, the lobby holds them, and the meeting leaves the calendar.
	must[*usherv1.RevokeInvitationResponse](t)(v.host.RevokeInvitation(t.Context(), &usherv1.RevokeInvitationRequest{InvitationId: grace.GetId()}))
	_, err := guest.ResolveInvitation(t.Context(), &usherv1.ResolveInvitationRequest{Token: graceToken})
	wantReason(t, err, "INVITATION_REVOKED")
	entry := must[*usherv1.RequestEntryResponse](t)(guest.RequestEntry(t.Context(), &usherv1.RequestEntryRequest{
		Room: v.room.GetId(), DisplayName: "Grace", InvitationToken: graceToken,
	})).GetEntry()
	if entry.GetStatus() != usherv1.EntryStatus_ENTRY_STATUS_WAITING || entry.GetConnection() != nil {
		t.Errorf("with a link that was revoked they are %v", entry.GetStatus())
	}
	mail.Wait(3)
	_, before := v.event(toGrace)
	method, e := v.event(v.to("grace@other.example"))
	was, cancelled := before.Props.Get("UID").Value, e.Props.Get("UID").Value
	if method != "CANCEL" || was != cancelled || e.Props.Get("SEQUENCE").Value != "1" || e.Props.Get("STATUS").Value != "CANCELLED" {
		t.Errorf("the letter has a %s of %s (was %s)", method, cancelled, was)
	}

	// Whoever is in stays, and cannot come back: the link is dead.
	inside := v.clients(bearer(connection.GetSessionToken()))
	must[*usherv1.RenewConnectionResponse](t)(inside.RenewConnection(t.Context(), &usherv1.RenewConnectionRequest{}))
	must[*usherv1.RevokeInvitationResponse](t)(v.host.RevokeInvitation(t.Context(), &usherv1.RevokeInvitationRequest{InvitationId: charles.GetId()}))
	_, err = inside.RenewConnection(t.Context(), &usherv1.RenewConnectionRequest{})
	wantReason(t, err, "LOBBY_REQUIRED")
	_, err = guest.JoinRoom(t.Context(), &usherv1.JoinRoomRequest{Room: v.room.GetId(), InvitationToken: charlesToken})
	wantReason(t, err, "LOBBY_REQUIRED")
	people = must[*usherv1.ListParticipantsResponse](t)(v.host.ListParticipants(t.Context(), &usherv1.ListParticipantsRequest{Room: v.room.GetId()})).GetParticipants()
	if len(people) != 1 || people[0].GetIdentity() != second.Identity() {
		t.Errorf("after revoke the meeting has %v, want who was in it", people)
	}
}

// Whom a link let in may come back to the meeting that goes on, unless the link was withdrawn and nothing else lets them in.
func TestRenewConnection_invited(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		v := startInvitationFixture(t, mailcatcher.Options{}, onDatabase)
		ctx := t.Context()
		revoke := func(invited *usherv1.Invitation, _ *ent.User) {
			must[*usherv1.RevokeInvitationResponse](t)(v.host.RevokeInvitation(ctx, &usherv1.RevokeInvitationRequest{InvitationId: invited.GetId()}))
		}
		inside := map[string]*clients{}
		for n, c := range []struct {
			name   string
			change func(*usherv1.Invitation, *ent.User)
			want   string
		}{
			{"nothing changed", func(*usherv1.Invitation, *ent.User) {}, ""},
			{"it expired", func(invited *usherv1.Invitation, _ *ent.User) {
				v.expire(invited.GetId(), time.Minute)
				v.status(invited.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_EXPIRED)
			}, ""},
			{"invited again, to wait", func(invited *usherv1.Invitation, _ *ent.User) { v.invite(invited.GetEmail()) }, ""},
			{"revoked", revoke, "LOBBY_REQUIRED"},
			{"revoked, and a member by now", func(invited *usherv1.Invitation, u *ent.User) {
				revoke(invited, u)
				must[*usherv1.AddMemberResponse](t)(v.host.AddMember(ctx, &usherv1.AddMemberRequest{
					Room: v.room.GetId(), Identifier: &usherv1.AddMemberRequest_UserId{UserId: u.ID.String()}, Role: member,
				}))
			}, ""},
		} {
			u := v.user(fmt.Sprint("Invited Number ", n))
			invited := must[*usherv1.CreateInvitationsResponse](t)(v.host.CreateInvitations(ctx, &usherv1.CreateInvitationsRequest{
				Room: v.room.GetId(), Recipients: recipients(fmt.Sprintf("invited%d@other.example", n)), SkipLobby: true,
			})).GetInvitations()[0]
			v.status(invited.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT)
			connection := v.enterInvited(t, v.clients(bearer(v.apiToken(u, "rooms"))), v.link(v.to(invited.GetEmail())), "")
			joined(t, connection)
			inside[c.name] = v.clients(bearer(connection.GetSessionToken()))
			c.change(invited, u)
			_, err := inside[c.name].RenewConnection(ctx, &usherv1.RenewConnectionRequest{})
			if got := reason(err); got != c.want {
				t.Errorf("%s: renewing ends with %q, want %q", c.name, got, c.want)
			}
		}
		must[*usherv1.UpdateRoomResponse](t)(v.host.UpdateRoom(ctx, &usherv1.UpdateRoomRequest{
			Room: &usherv1.Room{Id: v.room.GetId(), AccessLevel: usherv1.AccessLevel_ACCESS_LEVEL_PUBLIC},
		}))
		must[*usherv1.RenewConnectionResponse](t)(inside["revoked"].RenewConnection(ctx, &usherv1.RenewConnectionRequest{}))
	})
}

// expire moves the end of a link into the past.
func (v *invitationFixture) expire(id string, ago time.Duration) {
	v.t.Helper()
	err := v.DB.Run(v.t.Context(), func(tx *ent.Client) error {
		return tx.Invitation.UpdateOneID(uuid.MustParse(id)).SetExpireTime(time.Now().UTC().Add(-ago)).Exec(v.t.Context())
	})
	if err != nil {
		v.t.Fatal(err)
	}
}

// enterInvited gets a connection with a link, from the lobby as a client that always asks there.
func (v *invitationFixture) enterInvited(t *testing.T, guest *clients, token, name string) *usherv1.Connection {
	t.Helper()
	entry := must[*usherv1.RequestEntryResponse](t)(guest.RequestEntry(t.Context(), &usherv1.RequestEntryRequest{
		Room: v.room.GetId(), DisplayName: name, InvitationToken: token,
	})).GetEntry()
	if entry.GetStatus() != usherv1.EntryStatus_ENTRY_STATUS_ACCEPTED {
		t.Fatalf("with a link that admits they are %v", entry.GetStatus())
	}
	return entry.GetConnection()
}

func (v *invitationFixture) wantAudit(t *testing.T, action string, want int) {
	t.Helper()
	n := 0
	for _, e := range must[*usherv1.ListAuditEventsResponse](t)(v.host.ListAuditEvents(t.Context(), &usherv1.ListAuditEventsRequest{Room: v.room.GetId()})).GetEvents() {
		if e.GetAction() == action {
			n++
		}
	}
	if n != want {
		t.Errorf("%d events %s, want %d", n, action, want)
	}
}

// What people type into names and messages stays text, and wrong input is refused before anything is done.
func TestCreateInvitations_badInput(t *testing.T) {
	t.Parallel()
	v := startInvitationFixture(t, mailcatcher.Options{})
	now := time.Now()
	for name, req := range map[string]*usherv1.CreateInvitationsRequest{
		"a message of a megabyte": {Message: strings.Repeat("x", 900_000), Recipients: recipients("a@people.example")},
		"nobody":                  {},
		"an end before the start": {Recipients: recipients("a@people.example"), StartTime: timestamppb.New(now.Add(time.Hour)), EndTime: timestamppb.New(now)},
		"a meeting that is over":  {Recipients: recipients("a@people.example"), StartTime: timestamppb.New(now.Add(-2 * time.Hour)), EndTime: timestamppb.New(now.Add(-time.Hour))},
		"a zone that is none":     {Recipients: recipients("a@people.example"), Timezone: "Mars/Olympus"},
		"for ever":                {Recipients: recipients("a@people.example"), StartTime: timestamppb.New(now.Add(time.Hour)), EndTime: timestamppb.New(now.Add(2 * time.Hour)), Recurrence: "FREQ=DAILY"},
	} {
		req.Room = v.room.GetId()
		_, err := v.host.CreateInvitations(t.Context(), req)
		if got := reason(err); got != "INVALID_REQUEST" {
			t.Errorf("%s: %s", name, got)
		}
	}
	res := must[*usherv1.CreateInvitationsResponse](t)(v.host.CreateInvitations(t.Context(), &usherv1.CreateInvitationsRequest{
		Room: v.room.GetId(), Message: "<script>alert(1)</script>\r\nBcc: x@people.example",
		Recipients: recipients(
			"Toto@people.example", "Toto@PEOPLE.example ", `"toto"@people.example.`, "x@bücher.example", "X@BÜCHER.example", "x@xn--bcher-kva.example",
			"no address", "a@b@people.example", "a%b@people.example", "a!b@people.example", "a\u202eb@people.example", "\u212aate@people.example", "a@localhost",
		),
	}))
	if len(res.GetInvitations()) != 2 || len(res.GetRefused()) != 7 {
		t.Errorf("%d invited and %d refused, want 2 and 7", len(res.GetInvitations()), len(res.GetRefused()))
	}
	for _, r := range res.GetRefused() {
		if r.GetReason() != usherv1.ErrorReason_ERROR_REASON_RECIPIENT_INVALID {
			t.Errorf("refused with %v", r.GetReason())
		}
	}
	for _, m := range v.mail.Wait(2) {
		if p := v.read(m); strings.Contains(p.HTML, "<script") || p.Header.Get("Bcc") != "" {
			t.Error("a letter has markup or headers of the message")
		}
	}
}

// Somebody who is invited again keeps the link, and one request_id invites once.
func TestCreateInvitations_again(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		v := startInvitationFixture(t, mailcatcher.Options{}, onDatabase)
		first := v.invite("charles@people.example")[0]
		token := v.link(v.mail.Wait(1)[0])
		second := v.invite("charles@PEOPLE.example")[0]
		if first.GetId() != second.GetId() {
			t.Error("one person has two invitations to a room")
		}
		if got := v.link(v.mail.Wait(2)[1]); got != token {
			t.Error("the link changed")
		}
		must[*usherv1.RevokeInvitationResponse](t)(v.host.RevokeInvitation(t.Context(), &usherv1.RevokeInvitationRequest{InvitationId: first.GetId()}))
		third := v.invite("charles@people.example")[0]
		if got := v.link(v.mail.Wait(3)[2]); got == token || third.GetId() == first.GetId() {
			t.Error("a link that was revoked lives again")
		}
		req := &usherv1.CreateInvitationsRequest{
			Room: v.room.GetId(), Recipients: recipients("grace@people.example"), RequestId: "0f6f1c9e-6a3f-4c0e-9d0e-3d1c2b5a7e10",
		}
		a := must[*usherv1.CreateInvitationsResponse](t)(v.host.CreateInvitations(t.Context(), req))
		b := must[*usherv1.CreateInvitationsResponse](t)(v.host.CreateInvitations(t.Context(), req))
		if a.GetInvitations()[0].GetId() != b.GetInvitations()[0].GetId() {
			t.Error("a repeated request invited twice")
		}
		req.Message = "another"
		_, err := v.host.CreateInvitations(t.Context(), req)
		wantReason(t, err, "REQUEST_ID_REUSED")
		v.status(a.GetInvitations()[0].GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT)
		if n := len(v.mail.Mails()); n != 4 {
			t.Errorf("%d letters, want 4", n)
		}
	})
}

// The link of an invitation without a time works for as long as when it was last given, whatever is said about it later.
func TestUpdateInvitation_keepsLink(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		v := startInvitationFixture(t, mailcatcher.Options{}, onDatabase)
		v.invite("charles@people.example")
		long := time.Now().UTC().Add(-40 * 24 * time.Hour)
		if _, err := v.DB.SQL().ExecContext(t.Context(), `UPDATE invitations SET create_time = $1`, long); err != nil {
			t.Fatal(err)
		}
		again := v.invite("charles@people.example")[0]
		updated := must[*usherv1.UpdateInvitationResponse](t)(v.host.UpdateInvitation(t.Context(), &usherv1.UpdateInvitationRequest{
			Invitation: &usherv1.Invitation{Id: again.GetId(), Message: "Bring the cards."},
		})).GetInvitation()
		if !updated.GetExpireTime().AsTime().Equal(again.GetExpireTime().AsTime()) {
			t.Errorf("a message changed the end of the link from %v to %v", again.GetExpireTime().AsTime(), updated.GetExpireTime().AsTime())
		}
		v.status(again.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT)
	})
}

var putOff = regexp.MustCompile(`usher_jobs_total\{kind="invitations.send",outcome="later"\} ([4-9]|\d\d)`)

// A meeting can lose its time: the entry leaves the calendar, and the link stays. With another time it comes back.
func TestUpdateInvitation_clearsTime(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		v := startInvitationFixture(t, mailcatcher.Options{}, onDatabase)
		begin := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
		inv := must[*usherv1.CreateInvitationsResponse](t)(v.host.CreateInvitations(t.Context(), &usherv1.CreateInvitationsRequest{
			Room: v.room.GetId(), Recipients: recipients("charles@people.example"), Timezone: "Europe/Paris",
			StartTime: timestamppb.New(begin), EndTime: timestamppb.New(begin.Add(time.Hour)), Recurrence: "FREQ=DAILY;COUNT=3",
		})).GetInvitations()[0]
		v.status(inv.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT)
		update := func(i *usherv1.Invitation, paths ...string) *usherv1.Invitation {
			i.Id = inv.GetId()
			got := must[*usherv1.UpdateInvitationResponse](t)(v.host.UpdateInvitation(t.Context(), &usherv1.UpdateInvitationRequest{
				Invitation: i, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
			})).GetInvitation()
			return got
		}
		got := update(&usherv1.Invitation{}, "start_time")
		if got.GetStartTime() != nil || got.GetEndTime() != nil || got.GetRecurrence() != "" || time.Until(got.GetExpireTime().AsTime()) < 29*24*time.Hour {
			t.Fatalf("without a time it is %v", got)
		}
		v.status(inv.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT)
		all := v.mail.Wait(2)
		_, old := v.event(all[0])
		method, e := v.event(all[1])
		at, err := e.DateTimeStart(time.UTC)
		if method != "CANCEL" || e.Props.Get("SEQUENCE").Value != "1" || e.Props.Get("UID").Value != old.Props.Get("UID").Value || err != nil || !at.Equal(begin) {
			t.Errorf("the entry leaves with a %s of %v at %v, %v", method, e.Props, at, err)
		}
		if text := v.read(all[1]).Text; v.link(all[0]) != v.link(all[1]) || !strings.Contains(text, "removed the time") {
			t.Errorf("the letter says\n%s", text)
		}

		update(&usherv1.Invitation{Message: "We will see."}, "message")
		v.status(inv.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT)
		if p := v.read(v.mail.Wait(3)[2]); p.Calendar != "" || !strings.Contains(p.Text, "We will see.") {
			t.Errorf("without a time the calendar is %q, and the text\n%s", p.Calendar, p.Text)
		}

		update(&usherv1.Invitation{StartTime: timestamppb.New(begin), EndTime: timestamppb.New(begin.Add(time.Hour))}, "start_time", "end_time")
		v.status(inv.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT)
		if method, e := v.event(v.mail.Wait(4)[3]); method != "REQUEST" || e.Props.Get("SEQUENCE").Value != "3" {
			t.Errorf("with another time: %s of %v", method, e.Props)
		}
	})
}

// An entry leaves the calendar also when its invitation is withdrawn before the letter about that was sent.
func TestUpdateInvitation_clearsTimeAndEnds(t *testing.T) {
	t.Parallel()
	v := startInvitationFixture(t, mailcatcher.Options{})
	begin := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	inv := must[*usherv1.CreateInvitationsResponse](t)(v.host.CreateInvitations(t.Context(), &usherv1.CreateInvitationsRequest{
		Room: v.room.GetId(), Recipients: recipients("charles@people.example"),
		StartTime: timestamppb.New(begin), EndTime: timestamppb.New(begin.Add(time.Hour)),
	})).GetInvitations()[0]
	v.status(inv.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT)
	v.mail.Stop()
	must[*usherv1.UpdateInvitationResponse](t)(v.host.UpdateInvitation(t.Context(), &usherv1.UpdateInvitationRequest{
		Invitation: &usherv1.Invitation{Id: inv.GetId()}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"start_time"}},
	}))
	must[*usherv1.RevokeInvitationResponse](t)(v.host.RevokeInvitation(t.Context(), &usherv1.RevokeInvitationRequest{InvitationId: inv.GetId()}))
	v.waitFailed(t)
	v.mail.Start()
	if method, e := v.event(v.mail.Wait(2)[1]); method != "CANCEL" || e.Props.Get("SEQUENCE").Value != "1" {
		t.Errorf("after the invitation was withdrawn: %s of %v", method, e.Props)
	}
}

// An update replaces the entry in the calendar, and one that changes nothing sends nothing.
func TestUpdateInvitation(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		v := startInvitationFixture(t, mailcatcher.Options{}, onDatabase)
		begin := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
		inv := must[*usherv1.CreateInvitationsResponse](t)(v.host.CreateInvitations(t.Context(), &usherv1.CreateInvitationsRequest{
			Room: v.room.GetId(), Recipients: recipients("charles@people.example"), Timezone: "Europe/Paris",
			StartTime: timestamppb.New(begin), EndTime: timestamppb.New(begin.Add(time.Hour)),
		})).GetInvitations()[0]
		v.status(inv.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT)
		update := func(i *usherv1.Invitation) (*usherv1.Invitation, error) {
			i.Id = inv.GetId()
			res, err := v.host.UpdateInvitation(t.Context(), &usherv1.UpdateInvitationRequest{Invitation: i})
			return res.GetInvitation(), err
		}
		later := begin.Add(2 * time.Hour)
		got, err := update(&usherv1.Invitation{StartTime: timestamppb.New(later), EndTime: timestamppb.New(later.Add(time.Hour))})
		if err != nil || !got.GetStartTime().AsTime().Equal(later) {
			t.Fatalf("updated to %v, %v", got, err)
		}
		all := v.mail.Wait(2)
		method, e := v.event(all[1])
		_, old := v.event(all[0])
		at, err := e.DateTimeStart(time.UTC)
		if method != "REQUEST" || e.Props.Get("SEQUENCE").Value != "1" || e.Props.Get("UID").Value != old.Props.Get("UID").Value || err != nil || !at.Equal(later) {
			t.Errorf("the update is a %s of %v at %v", method, e.Props, at)
		}
		if v.link(all[0]) != v.link(all[1]) {
			t.Error("the link changed")
		}
		v.status(inv.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT)
		if got, err = update(&usherv1.Invitation{StartTime: timestamppb.New(later)}); err != nil || got.GetStatus() != usherv1.InvitationStatus_INVITATION_STATUS_SENT {
			t.Errorf("a change of nothing: %v, %v", got, err)
		}
		_, err = update(&usherv1.Invitation{EndTime: timestamppb.New(later.Add(-time.Hour))})
		wantReason(t, err, "INVALID_REQUEST")
		_, err = update(&usherv1.Invitation{Timezone: "Mars/Olympus"})
		wantReason(t, err, "INVALID_REQUEST")
		must[*usherv1.RevokeInvitationResponse](t)(v.host.RevokeInvitation(t.Context(), &usherv1.RevokeInvitationRequest{InvitationId: inv.GetId()}))
		_, err = update(&usherv1.Invitation{Message: "too late"})
		wantReason(t, err, "INVITATION_REVOKED")
		_, err = v.host.ResendInvitation(t.Context(), &usherv1.ResendInvitationRequest{InvitationId: inv.GetId()})
		wantReason(t, err, "INVITATION_REVOKED")
		if n := len(v.mail.Wait(3)); n != 3 {
			t.Errorf("%d letters, want 3", n)
		}
	})
}

// What a room's roles may do with an invitation.
func TestInvitationRoles(t *testing.T) {
	t.Parallel()
	v := startInvitationFixture(t, mailcatcher.Options{})
	for role, want := range map[usherv1.Role]string{0: "INVITATION_NOT_FOUND", member: "INSUFFICIENT_ROLE", administrator: "", owner: ""} {
		id := v.invite(fmt.Sprintf("guest%d@people.example", role))[0].GetId()
		u := v.user(fmt.Sprintf("Caller Number %d", role))
		if role != 0 {
			if err := v.DB.Run(t.Context(), func(tx *ent.Client) error {
				room := tx.Room.Query().OnlyIDX(t.Context())
				return tx.Member.Create().SetRoomID(room).SetUserID(u.ID).SetRole(role).Exec(t.Context())
			}); err != nil {
				t.Fatal(err)
			}
		}
		c := v.clients(bearer(v.apiToken(u, "read", "invitations")))
		ctx := t.Context()
		_, get := c.GetInvitation(ctx, &usherv1.GetInvitationRequest{InvitationId: id})
		_, update := c.UpdateInvitation(ctx, &usherv1.UpdateInvitationRequest{Invitation: &usherv1.Invitation{Id: id, Message: "hello"}})
		_, resend := c.ResendInvitation(ctx, &usherv1.ResendInvitationRequest{InvitationId: id})
		_, revoke := c.RevokeInvitation(ctx, &usherv1.RevokeInvitationRequest{InvitationId: id})
		for name, err := range map[string]error{"get": get, "update": update, "resend": resend, "revoke": revoke} {
			if got := reason(err); got != want {
				t.Errorf("%s by role %v: %q, want %q", name, role, got, want)
			}
		}
	}
}

func (v *invitationFixture) browse(method, path string, form url.Values, language string, cookies ...*http.Cookie) (*http.Response, string) {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), method, v.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept-Language", language)
	for _, cookie := range cookies {
		req.AddCookie(cookie)
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := c.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return res, string(body)
}

func TestInvitationPage(t *testing.T) {
	t.Parallel()
	v := startInvitationFixture(t, mailcatcher.Options{}, func(c *settings.Config) {
		c.Limits.NotFound.Name, c.Limits.NotFound.Burst, c.Limits.NotFound.Period = "not-found", 20, time.Hour
	})
	begin := time.Now().Add(24 * time.Hour)
	inv := must[*usherv1.CreateInvitationsResponse](t)(v.host.CreateInvitations(t.Context(), &usherv1.CreateInvitationsRequest{
		Room: v.room.GetId(), Recipients: recipients("charles@people.example"), Message: "<b>Bring</b> the cards.",
		StartTime: timestamppb.New(begin), EndTime: timestamppb.New(begin.Add(time.Hour)),
	})).GetInvitations()[0]
	token := v.link(v.mail.Wait(1)[0])
	path := "/i/" + token
	for language, word := range map[string]string{"en": "invites you", "fr-FR,fr;q=0.9": "vous invite", "de": "lädt Sie", "nl": "nodigt u uit"} {
		res, body := v.browse(http.MethodGet, path, nil, language)
		if res.StatusCode != http.StatusOK || !strings.Contains(body, word) || !strings.Contains(body, "Analytical Engines") ||
			!strings.Contains(body, "&lt;b&gt;Bring") || strings.Contains(body, "<script") {
			t.Errorf("%s: %d\n%s", language, res.StatusCode, body)
		}
		for header, want := range map[string]string{
			"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		} {
			if got := res.Header.Get(header); got != want {
				t.Errorf("%s: %q, want %q", header, got, want)
			}
		}
		if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("policy %q", csp)
		}
	}
	// GET changed nothing.
	if got := v.status(inv.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT); got.GetResponse() != 0 || got.GetAdmissionCount() != 0 {
		t.Errorf("looking at the page changed the invitation: %v", got)
	}
	res, _ := v.browse(http.MethodPost, path, url.Values{"response": {"maybe"}}, "en")
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "http://usher.test"+path+"?answered=1" {
		t.Errorf("answered with %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	if got := v.status(inv.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT).GetResponse(); got != usherv1.Attendance_ATTENDANCE_MAYBE {
		t.Errorf("the answer is %v", got)
	}
	res, _ = v.browse(http.MethodPost, path, url.Values{"action": {"join"}}, "en")
	if got, want := res.Header.Get("Location"), v.room.GetWebUrl()+"#invitation="+token; res.StatusCode != http.StatusSeeOther || got != want {
		t.Errorf("joining leads with %d to %s, want %s", res.StatusCode, got, want)
	}
	if res, _ = v.browse(http.MethodPost, path, url.Values{"response": {"perhaps"}}, "en"); res.StatusCode != http.StatusBadRequest {
		t.Errorf("an answer that is none: %d", res.StatusCode)
	}
	must[*usherv1.RevokeInvitationResponse](t)(v.host.RevokeInvitation(t.Context(), &usherv1.RevokeInvitationRequest{InvitationId: inv.GetId()}))
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		res, body := v.browse(method, path, url.Values{"response": {"yes"}}, "en")
		if res.StatusCode != http.StatusGone || !strings.Contains(body, "withdrawn") || strings.Contains(body, "Analytical") || strings.Contains(body, "Ada") {
			t.Errorf("%s of a link that was revoked: %d\n%s", method, res.StatusCode, body)
		}
	}
	// Who has no token learns nothing, and is refused after a while.
	codes := map[int]int{}
	for n := range 40 {
		res, body := v.browse(http.MethodGet, fmt.Sprintf("/i/test-guess-%d", n), nil, "en")
		codes[res.StatusCode]++
		if strings.Contains(body, "Analytical") {
			t.Error("a guess shows the room")
		}
	}
	if codes[http.StatusNotFound] == 0 || codes[http.StatusTooManyRequests] < 15 {
		t.Errorf("40 guesses were answered with %v", codes)
	}
	// Whoever is signed in on the same network is not.
	if res, _ := v.browse(http.MethodGet, path, nil, "en", v.session(v.owner)); res.StatusCode != http.StatusGone {
		t.Errorf("somebody who is signed in on the network of a guesser: %d, want 410", res.StatusCode)
	}
}

// add_as_member makes members of those who have an account, and of others when they come.
func TestCreateInvitations_addAsMember(t *testing.T) {
	t.Parallel()
	v := startInvitationFixture(t, mailcatcher.Options{})
	has := v.user("Has Account")
	must[*usherv1.CreateInvitationsResponse](t)(v.host.CreateInvitations(t.Context(), &usherv1.CreateInvitationsRequest{
		Room: v.room.GetId(), Recipients: recipients(string(has.Email), "later.person@people.example", string(v.owner.Email)), AddAsMember: true,
	}))
	later := v.user("Later Person")
	for _, u := range []*ent.User{has, later} {
		c := v.clients(bearer(v.apiToken(u, "rooms")))
		must[*usherv1.JoinRoomResponse](t)(c.JoinRoom(t.Context(), &usherv1.JoinRoomRequest{Room: v.room.GetId()}))
	}
	members := must[*usherv1.ListMembersResponse](t)(v.host.ListMembers(t.Context(), &usherv1.ListMembersRequest{Room: v.room.GetId()})).GetMembers()
	if len(members) != 3 || members[0].GetRole() != owner || members[0].GetUser().GetId() != v.owner.ID.String() {
		t.Errorf("members %v, want the owner and two", members)
	}
}

// When a room is deleted, its links end and its meetings leave the calendars.
func TestInvitation_roomDeleted(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		v := startInvitationFixture(t, mailcatcher.Options{}, onDatabase)
		begin := time.Now().Add(24 * time.Hour)
		must[*usherv1.CreateInvitationsResponse](t)(v.host.CreateInvitations(t.Context(), &usherv1.CreateInvitationsRequest{
			Room: v.room.GetId(), Recipients: recipients("charles@people.example"),
			StartTime: timestamppb.New(begin), EndTime: timestamppb.New(begin.Add(time.Hour)),
		}))
		token := v.link(v.mail.Wait(1)[0])
		must[*usherv1.DeleteRoomResponse](t)(v.host.DeleteRoom(t.Context(), &usherv1.DeleteRoomRequest{Room: v.room.GetId()}))
		_, err := v.clients().ResolveInvitation(t.Context(), &usherv1.ResolveInvitationRequest{Token: token})
		wantReason(t, err, "INVITATION_REVOKED")
		if method, _ := v.event(v.mail.Wait(2)[1]); method != "CANCEL" {
			t.Errorf("the letter is a %s", method)
		}
	})
}
