package server_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	"github.com/google/go-cmp/cmp"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/invitationletter"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/internal/mailcatcher"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/settings"
)

// A server is killed at each step between the decision to send a letter and the end of its job, and the next one goes on.
// Every letter arrives once, but for the one that was taken when nobody had stored that yet: it comes twice, as the same
// message.
func TestNoDuplicateAfterCrash(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, onDatabase func(*settings.Config)) {
		c := newMailCrash(t, onDatabase)
		c.invite("done@people.example")
		c.eventually("the letter is sent and its job ended", 60*time.Second, func() bool { return len(c.jobsOf("invitations.send", "done")) == 1 })
		c.steps()
		c.kill()
		// What the dead server had begun is found after its timeout, half a minute, and the time of a leader.
		c.eventually("all letters are sent", 200*time.Second, func() bool { return len(c.jobsOf("invitations.send", "done")) == 5 })
		count, ids := map[string]int{}, map[string]bool{}
		for _, m := range c.mail.Mails() {
			name, _, _ := strings.Cut(m.To, "@")
			count[name]++
			if name == "unstored" {
				ids[c.read(m).Header.Get("Message-Id")] = true
			}
		}
		want := map[string]int{"done": 1, "stored": 1, "unstored": 2, "content": 1, "recipient": 1}
		if diff := cmp.Diff(want, count); diff != "" {
			t.Errorf("letters (-want +got):\n%s", diff)
		}
		if len(ids) != 1 {
			t.Errorf("the letter that came twice has %d Message-IDs, want 1", len(ids))
		}
		for _, i := range must[*usherv1.ListInvitationsResponse](t)(c.host.ListInvitations(t.Context(), &usherv1.ListInvitationsRequest{
			Room: c.room.GetId(),
		})).GetInvitations() {
			if i.GetStatus() != usherv1.InvitationStatus_INVITATION_STATUS_SENT {
				t.Errorf("%s is %v", i.GetEmail(), i.GetStatus())
			}
		}
	})
}

// mailCrash is a server that is a process of its own, and can be held at each step of sending a letter.
type mailCrash struct {
	*invitationFixture
	settings childSettings
	process  *testenv.Process
	// reached says that the mail server holds a letter up, and goOn ends that.
	reached, goOn chan struct{}
	// hold holds the database once, and releases has what lets it go.
	hold     sync.Once
	releases chan func()
}

func newMailCrash(t *testing.T, onDatabase func(*settings.Config)) *mailCrash {
	t.Helper()
	c := &mailCrash{reached: make(chan struct{}, 2), goOn: make(chan struct{}), releases: make(chan func(), 1)}
	mail := testenv.SMTP(t, mailcatcher.Options{Answer: c.answer})
	listen, webhook := listenForWebhooks(t)
	lk, redis := testenv.LiveKit(t, webhook), testenv.Redis(t)
	config := settings.Config{DatabaseURL: settings.Secret(testenv.PostgresURL(t))}
	onDatabase(&config)
	c.settings = childSettings{
		Listen: listen, Sweep: time.Hour, ClientURL: strings.Replace(lk.URL, "http", "ws", 1), MailPort: mail.Port,
		Places: places{Database: string(config.DatabaseURL), Redis: redis.Address, LiveKit: lk.URL},
	}
	c.process = startChild(t, c.settings)
	c.invitationFixture = newInvitationFixture(t, outside(t, "http://"+listen, string(config.DatabaseURL), redis, lk), mail)
	return c
}

// answer holds letters up until the server was killed: "recipient" before it is told that the address is good, "content"
// before it is told that the letter was taken.
func (c *mailCrash) answer(stage mailcatcher.Stage, address string) error {
	if stage == mailcatcher.To && address == "recipient@people.example" || stage == mailcatcher.Data && address == "content@people.example" {
		select {
		case <-c.goOn:
			return nil
		default:
		}
		c.reached <- struct{}{}
		<-c.goOn
		return mailcatcher.ErrHangUp
	}
	if stage == mailcatcher.Data && address == "unstored@people.example" {
		c.hold.Do(c.holdDatabase)
	}
	return nil
}

// steps brings one letter to each step.
func (c *mailCrash) steps() {
	c.t.Helper()
	ctx := c.t.Context()
	c.jobsDoNotEnd()
	c.invite("stored@people.example")
	c.eventually("it is stored that the letter was taken", 60*time.Second, func() bool {
		n, err := c.DB.Read.InvitationLetter.Query().Where(invitationletter.StateEQ(invitationletter.StateTaken)).Count(ctx)
		return err == nil && n == 2
	})
	c.invite("recipient@people.example", "content@people.example")
	within(c.t, c.reached)
	within(c.t, c.reached)
	c.invite("unstored@people.example")
	c.eventually("the server knows that the letter was taken", 60*time.Second, func() bool {
		return strings.Count(c.process.Output(), "letter sent") == 3
	})
	if done, all := len(c.jobsOf("invitations.send", "done")), len(c.jobsOf("invitations.send")); done != 1 || all != 5 {
		c.t.Fatalf("%d of %d jobs are done, want 1 of 5", done, all)
	}
}

// jobsDoNotEnd keeps the engine from storing that a job is done.
func (c *mailCrash) jobsDoNotEnd() {
	c.t.Helper()
	if c.DB.Dialect == dialect.Postgres {
		c.exec(`CREATE FUNCTION test_hold() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'held by the test'; END $$ LANGUAGE plpgsql`)
		c.exec(`CREATE TRIGGER test_hold BEFORE UPDATE ON river_job FOR EACH ROW WHEN (NEW.state = 'completed') EXECUTE FUNCTION test_hold()`)
		return
	}
	c.exec(`CREATE TRIGGER test_hold BEFORE UPDATE ON river_job WHEN NEW.state = 'completed' BEGIN SELECT RAISE(ABORT, 'held by the test'); END`)
}

func (c *mailCrash) exec(statement string) {
	c.t.Helper()
	if _, err := c.DB.SQL().ExecContext(c.t.Context(), statement); err != nil {
		c.t.Fatal(err)
	}
}

// holdDatabase keeps the server from storing what became of a letter, until what it puts into releases is called.
func (c *mailCrash) holdDatabase() {
	held, end, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		// Of its own: on SQLite there is one connection that writes, and the test goes on to look at jobs with it.
		db, err := dbtx.Open(context.Background(), c.settings.Places.Database)
		if err != nil {
			c.t.Error(err)
			close(held)
			return
		}
		defer db.Close()
		_ = db.Run(context.Background(), func(tx *ent.Client) error {
			queued := invitationletter.StateEQ(invitationletter.StateQueued)
			if err := tx.InvitationLetter.Update().Where(queued).SetCode(0).Exec(context.Background()); err != nil {
				c.t.Error(err)
			}
			close(held)
			<-end
			return errors.New("nothing is to be changed")
		})
	}()
	<-held
	c.releases <- func() { close(end); <-ended }
}

// kill ends the server as a crash would, lets everything go that was held, and starts another one.
func (c *mailCrash) kill() {
	c.t.Helper()
	c.process.Kill()
	c.secrets.check(c.t, c.process.Output())
	close(c.goOn)
	(<-c.releases)()
	if c.DB.Dialect == dialect.Postgres {
		c.exec(`DROP TRIGGER test_hold ON river_job`)
	} else {
		c.exec(`DROP TRIGGER test_hold`)
	}
	c.process = startChild(c.t, c.settings)
}
