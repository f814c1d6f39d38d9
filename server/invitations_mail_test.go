package server_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitationletter"
	"github.com/usher-meet/usher/gen/ent/user"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/mailcatcher"
	"github.com/usher-meet/usher/server/settings"
)

// This file is about letters: what the mail server does to them, how many there may be, and who reads what.

// A mail server that is down loses nothing, and the request does not wait for it.
func TestMailOutage(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		v := startInvitationFixture(t, mailcatcher.Options{}, onDatabase)
		v.mail.Stop()
		var addresses []string
		for n := range 20 {
			addresses = append(addresses, fmt.Sprintf("guest%d@domain%d.example", n, n%4))
		}
		invited := v.invite(addresses...)
		if got := invited[0].GetStatus(); got != usherv1.InvitationStatus_INVITATION_STATUS_PENDING {
			t.Errorf("invited while mail is down: %v", got)
		}
		v.waitFailed(t)
		v.mail.Start()
		all := v.mail.Wait(20)
		for _, i := range invited {
			v.status(i.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT)
		}
		if len(all) != 20 || len(v.mail.Mails()) != 20 {
			t.Errorf("%d letters, want 20", len(v.mail.Mails()))
		}
	})
}

// waitFailed waits until some letter was tried in vain.
func (v *invitationFixture) waitFailed(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(v.log.String(), "job failed; it is tried again"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no letter was tried")
		}
	}
}

// CreateInvitations has answered before the mail server is spoken to: one that is silent holds nobody up.
func TestCreateInvitations_beforeSMTP(t *testing.T) {
	t.Parallel()
	speak := make(chan struct{})
	var asked atomic.Bool
	v := startInvitationFixture(t, mailcatcher.Options{Answer: func(mailcatcher.Stage, string) error { asked.Store(true); <-speak; return nil }})
	defer close(speak)
	v.invite("charles@people.example")
	if got := v.mail.Mails(); len(got) != 0 {
		t.Errorf("%d letters before the answer", len(got))
	}
}

// Of a letter nobody knows whether it arrived when the connection breaks where the yes should come. It keeps its Message-ID.
func TestInvitation_yesIsLost(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		var hangUps atomic.Int32
		hangUps.Store(1)
		v := startInvitationFixture(t, mailcatcher.Options{Answer: func(stage mailcatcher.Stage, _ string) error {
			if stage == mailcatcher.Data && hangUps.Add(-1) >= 0 {
				return mailcatcher.ErrTakeAndHangUp
			}
			return nil
		}}, onDatabase)
		invited := v.invite("unknown@people.example")[0]
		v.status(invited.GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT)
		v.repeatJobs(t)
		all := v.mail.Mails()
		if len(all) != 2 || v.read(all[0]).Header.Get("Message-Id") != v.read(all[1]).Header.Get("Message-Id") {
			t.Errorf("%d letters, want 2 that are one message", len(all))
		}
	})
}

// repeatJobs has all jobs done again that send letters, as after a crash before they ended, and waits for that.
func (v *invitationFixture) repeatJobs(t *testing.T) {
	t.Helper()
	_, err := v.DB.SQL().ExecContext(t.Context(), `UPDATE river_job SET state = 'available', finalized_at = NULL, attempt = 0 WHERE kind = 'invitations.send'`)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var left int
		row := v.DB.SQL().QueryRowContext(t.Context(), `SELECT count(*) FROM river_job WHERE kind = 'invitations.send' AND state <> 'completed'`)
		if err := row.Scan(&left); err != nil {
			t.Fatal(err)
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d jobs were not done again", left)
		}
	}
}

// What a mail server refuses for good is told to the host, and not tried again.
func TestBounce(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		var refused, later atomic.Int32
		v := startInvitationFixture(t, mailcatcher.Options{Answer: func(stage mailcatcher.Stage, address string) error {
			switch {
			case stage == mailcatcher.To && address == "nobody@people.example":
				refused.Add(1)
				return mailcatcher.Refuse(550, [3]int{5, 1, 1})
			case stage == mailcatcher.Data && address == "slow@people.example" && later.Add(1) <= 2:
				return mailcatcher.Refuse(451, [3]int{4, 7, 1})
			}
			return nil
		}}, onDatabase)
		v.secrets.add("nobody@people.example", "slow@people.example", "somebody@people.example")
		all := v.invite("nobody@people.example", "slow@people.example")
		got := v.status(all[0].GetId(), usherv1.InvitationStatus_INVITATION_STATUS_BOUNCED)
		if got.GetSendTime() != nil {
			t.Error("what was refused has a time at which it was sent")
		}
		v.status(all[1].GetId(), usherv1.InvitationStatus_INVITATION_STATUS_SENT)
		v.repeatJobs(t)
		if refused.Load() != 1 || later.Load() != 3 {
			t.Errorf("tried %d and %d times, want 1 and 3", refused.Load(), later.Load())
		}
		letters, err := v.DB.Read.InvitationLetter.Query().Where(invitationletter.StateEQ(invitationletter.StateRefused)).All(t.Context())
		if err != nil || len(letters) != 1 || letters[0].Code != 550 {
			t.Errorf("letters that were refused: %v, %v", letters, err)
		}
	})
}

func TestQuotas(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		v := startInvitationFixture(t, mailcatcher.Options{}, onDatabase, func(c *settings.Config) { c.Mail.PerUser, c.Mail.PerInstance = 30, 50 })
		addresses := func(who string, n int) []*usherv1.Recipient {
			var all []*usherv1.Recipient
			for i := range n {
				all = append(all, &usherv1.Recipient{Email: fmt.Sprintf("%s%d@people.example", who, i)})
			}
			return all
		}
		_, err := v.host.CreateInvitations(t.Context(), &usherv1.CreateInvitationsRequest{Room: v.room.GetId(), Recipients: addresses("a", 101)})
		wantReason(t, err, "INVALID_REQUEST")
		// Ten calls at once of ten each: a user has 30, whatever happens at the same time.
		var invited, refused atomic.Int32
		var group sync.WaitGroup
		for n := range 10 {
			// Rooms of their own, or the lock on the room would keep them apart.
			room := must[*usherv1.CreateRoomResponse](t)(v.host.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{})).GetRoom().GetId()
			group.Go(func() {
				res, err := v.host.CreateInvitations(t.Context(), &usherv1.CreateInvitationsRequest{
					Room: room, Recipients: addresses(fmt.Sprintf("b%d-", n), 10),
				})
				if err != nil {
					t.Error(err)
					return
				}
				invited.Add(int32(len(res.GetInvitations())))
				for _, r := range res.GetRefused() {
					if r.GetReason() != usherv1.ErrorReason_ERROR_REASON_RATE_LIMITED {
						t.Errorf("refused with %v", r.GetReason())
					}
					refused.Add(1)
				}
			})
		}
		group.Wait()
		if invited.Load() != 30 || refused.Load() != 70 {
			t.Errorf("%d invited and %d refused, want 30 and 70", invited.Load(), refused.Load())
		}
		// All users together have 50.
		other := v.user("Other Host")
		host := v.clients(bearer(v.apiToken(other, "rooms", "invitations")))
		room := must[*usherv1.CreateRoomResponse](t)(host.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{Name: "Other"})).GetRoom()
		res := must[*usherv1.CreateInvitationsResponse](t)(host.CreateInvitations(t.Context(), &usherv1.CreateInvitationsRequest{Room: room.GetId(), Recipients: addresses("c", 25)}))
		if len(res.GetInvitations()) != 20 || len(res.GetRefused()) != 5 {
			t.Errorf("%d invited and %d refused, want 20 and 5", len(res.GetInvitations()), len(res.GetRefused()))
		}
		_, err = host.ResendInvitation(t.Context(), &usherv1.ResendInvitationRequest{InvitationId: res.GetInvitations()[0].GetId()})
		wantReason(t, err, "RATE_LIMITED")
	})
}

func TestRecipientsDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	v := startInvitationFixture(t, mailcatcher.Options{})
	addresses := []string{"charles@people.example", "grace@other.example", "alan@third.example"}
	v.invite(addresses...)
	all := v.mail.Wait(3)
	links := map[string]bool{}
	for _, m := range all {
		for _, a := range addresses {
			if has := bytes.Contains(m.Raw, []byte(a)); has != (a == m.To) {
				t.Errorf("the letter to %s names %s: %v", m.To, a, has)
			}
		}
		links[v.link(m)] = true
		if bytes.Contains(m.Raw, []byte(v.owner.Email)) {
			t.Error("the letter has the address of who invites")
		}
	}
	if len(all) != 3 || len(links) != 3 {
		t.Errorf("%d letters with %d links, want 3 with 3", len(all), len(links))
	}
}

// What becomes of a letter that was overtaken says nothing about the one that is under way.
func TestInvitation_overtaken(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		came, goOn := make(chan struct{}), make(chan struct{})
		v := startInvitationFixture(t, mailcatcher.Options{Answer: func(stage mailcatcher.Stage, _ string) error {
			if stage == mailcatcher.Data {
				came <- struct{}{}
				<-goOn
			}
			return nil
		}}, onDatabase)
		id := v.invite("charles@people.example")[0].GetId()
		within(t, came)
		must[*usherv1.UpdateInvitationResponse](t)(v.host.UpdateInvitation(t.Context(), &usherv1.UpdateInvitationRequest{
			Invitation: &usherv1.Invitation{Id: id, Message: "Bring the cards."},
		}))
		goOn <- struct{}{}
		within(t, came) // the second one
		var got *usherv1.Invitation
		v.eventually("the first letter is sent", 30*time.Second, func() bool {
			got = must[*usherv1.GetInvitationResponse](t)(v.host.GetInvitation(t.Context(), &usherv1.GetInvitationRequest{InvitationId: id})).GetInvitation()
			return got.GetSendTime() != nil
		})
		if got.GetStatus() != usherv1.InvitationStatus_INVITATION_STATUS_PENDING {
			t.Errorf("while the update is under way it is %v", got.GetStatus())
		}
		goOn <- struct{}{}
		v.status(id, usherv1.InvitationStatus_INVITATION_STATUS_SENT)
	})
}

// within waits for a letter to be where a test holds it up.
func within(t testing.TB, came <-chan struct{}) {
	t.Helper()
	select {
	case <-came:
	case <-time.After(60 * time.Second):
		t.Fatal("no letter came within a minute")
	}
}

// Letters to a domain that is slow wait, and neither hold up others nor leave anything behind.
func TestInvitation_slowDomain(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		goOn := make(chan struct{})
		v := startInvitationFixture(t, mailcatcher.Options{Answer: func(stage mailcatcher.Stage, address string) error {
			if stage == mailcatcher.Data && strings.HasSuffix(address, "@slow.example") {
				<-goOn
			}
			return nil
		}}, onDatabase, func(c *settings.Config) { c.Mail.PerDomain = 1 })
		v.invite("ada@slow.example", "grace@slow.example", "charles@slow.example", "alan@quick.example")
		if got := v.mail.Wait(1); got[0].To != "alan@quick.example" {
			t.Error("a slow domain came first")
		}
		v.eventually("letters were put off several times", 30*time.Second, func() bool {
			_, metrics := get(t, v.Metrics+"/metrics")
			return putOff.MatchString(metrics)
		})
		close(goOn)
		v.mail.Wait(4)
		v.eventually("all jobs are done", 30*time.Second, func() bool { return len(v.jobsOf("invitations.send", "done")) >= 4 })
		if all := v.jobsOf("invitations.send"); len(all) != 4 || len(v.mail.Mails()) != 4 {
			t.Errorf("%d jobs and %d letters, want 4 and 4", len(all), len(v.mail.Mails()))
		}
		if strings.Contains(v.log.String(), "job failed") {
			t.Error("waiting counts as failure")
		}
	})
}

// Whoever wants no mail gets none, in this room or another, by hand or by the button of a mail program.
func TestStopMail(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		v := startInvitationFixture(t, mailcatcher.Options{}, onDatabase)
		v.invite("charles@people.example")
		header := v.read(v.mail.Wait(1)[0]).Header.Get("List-Unsubscribe")
		path := strings.TrimPrefix(strings.Trim(header, "<>"), "http://usher.test")
		if res, body := v.browse(http.MethodGet, path, nil, "fr"); res.StatusCode != http.StatusOK || !strings.Contains(body, "Plus d’invitations") {
			t.Errorf("the page: %d\n%s", res.StatusCode, body)
		}
		v.invite("charles@people.example") // GET had no effect
		v.mail.Wait(2)
		for range 2 { // repeating it is harmless
			if res, _ := v.browse(http.MethodPost, path, url.Values{"List-Unsubscribe": {"One-Click"}}, "en"); res.StatusCode != http.StatusOK {
				t.Errorf("the button: %d", res.StatusCode)
			}
		}
		res := must[*usherv1.CreateInvitationsResponse](t)(v.host.CreateInvitations(t.Context(), &usherv1.CreateInvitationsRequest{
			Room: v.room.GetId(), Recipients: recipients("CHARLES@people.example"),
		}))
		if len(res.GetRefused()) != 1 || res.GetRefused()[0].GetReason() != usherv1.ErrorReason_ERROR_REASON_RECIPIENT_SUPPRESSED {
			t.Errorf("invited again: %v", res)
		}
		if res, _ := v.browse(http.MethodPost, path[:len(path)-3]+"AAA", nil, "en"); res.StatusCode != http.StatusNotFound {
			t.Errorf("a forged stop: %d", res.StatusCode)
		}
		rows, err := v.DB.Read.MailSuppression.Query().All(t.Context())
		if err != nil || len(rows) != 1 || bytes.Contains(rows[0].AddressHash, []byte("charles")) {
			t.Errorf("stored: %v, %v", rows, err)
		}
	})
}

// The letter to somebody with an account is in their language, and who invites does not learn that there is one.
func TestInvitationLanguage(t *testing.T) {
	t.Parallel()
	v := startInvitationFixture(t, mailcatcher.Options{})
	reader := v.user("Reader In Dutch")
	if err := v.DB.Run(t.Context(), func(tx *ent.Client) error {
		if err := tx.User.Update().Where(user.ID(v.owner.ID)).SetLanguage("fr").Exec(t.Context()); err != nil {
			return err
		}
		return tx.User.Update().Where(user.ID(reader.ID)).SetLanguage("nl").Exec(t.Context())
	}); err != nil {
		t.Fatal(err)
	}
	all := v.invite(string(reader.Email), "stranger@people.example")
	if all[0].GetLanguage() != "fr" || all[1].GetLanguage() != "fr" {
		t.Errorf("the host sees languages %s and %s", all[0].GetLanguage(), all[1].GetLanguage())
	}
	v.mail.Wait(2)
	if got := v.read(v.to(string(reader.Email))).Subject; !strings.Contains(got, "nodigt") {
		t.Errorf("to the reader: %q", got)
	}
	if got := v.read(v.to("stranger@people.example")).Subject; !strings.Contains(got, "vous invite") {
		t.Errorf("to a stranger: %q", got)
	}
}
