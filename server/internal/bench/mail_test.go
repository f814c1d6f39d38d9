package bench

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/gen/go/usher/v1/usherv1connect"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/internal/mailcatcher"
	"github.com/usher-meet/usher/server/internal/testenv"
)

// BenchmarkMail invites 500 people of 50 domains, and waits until a mail server on loopback has all letters.
func BenchmarkMail(b *testing.B) {
	const letters, perCall, domains = 500, 100, 50
	server := testenv.SMTP(b, mailcatcher.Options{})
	for name, value := range map[string]string{
		"USHER_SMTP_HOST": "127.0.0.1", "USHER_SMTP_PORT": strconv.Itoa(server.Port), "USHER_SMTP_TLS": "none",
		"USHER_MAIL_FROM": "bench@usher.example",
	} {
		b.Setenv(name, value)
	}
	s := newBenchFixture(b, nil)
	tokens := auth.APITokens{DB: s.db, Keys: auth.NewKeys([]byte(secret), nil)}
	var err error
	s.token, _, err = tokens.Create(b.Context(), auth.CreateAPITokenParams{
		UserID: s.user.ID, Name: "bench", Scopes: []string{"invitations"}, ExpireTime: time.Now().Add(time.Hour),
	})
	if err != nil {
		b.Fatal(err)
	}
	c := usherv1connect.NewInvitationsServiceClient(http.DefaultClient, s.url, s.bearer())
	start := time.Now()
	for call := range letters / perCall {
		req := &usherv1.CreateInvitationsRequest{Room: s.room}
		for n := range perCall {
			req.Recipients = append(req.Recipients, &usherv1.Recipient{
				Email: fmt.Sprintf("guest%d@domain%d.example", call*perCall+n, n%domains),
			})
		}
		res, err := c.CreateInvitations(b.Context(), req)
		if err != nil || len(res.GetInvitations()) != perCall {
			b.Fatalf("%d invited, %v", len(res.GetInvitations()), err)
		}
	}
	answered := time.Since(start).Seconds()
	server.Wait(letters)
	took := time.Since(start).Seconds()
	if n := len(server.Mails()); n != letters {
		b.Errorf("%d letters, want %d", n, letters)
	}
	b.Logf("all calls were answered after %.1f s", answered)
	result(b, "mail", took, "s", 30, took/30, took <= 30)
}
