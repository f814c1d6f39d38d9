package server_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/settings"
)

// LiveKit may be below a path of a host that serves something else: people join there, the page may connect to it, Usher
// calls it, and the doctor finds nothing wrong.
func TestLiveKitBelowAPath(t *testing.T) {
	t.Parallel()
	listen, webhook := listenForWebhooks(t)
	lk := testenv.LiveKit(t, webhook)
	target := must[*url.URL](t)(url.Parse(lk.URL))
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	mux := http.NewServeMux()
	mux.Handle("/livekit/", http.StripPrefix("/livekit", proxy))
	front := httptest.NewServer(mux)
	t.Cleanup(front.Close)
	i := startOn(t, lk, func(c *settings.Config) {
		c.Listen = listen
		c.LiveKit.URL = front.URL + "/livekit"
		c.LiveKit.PublicURL = "ws" + strings.TrimPrefix(front.URL, "http") + "/livekit"
	})
	olga := i.clients(bearer(i.apiToken(i.user("Olga Of The Path"), "rooms")))
	room := must[*usherv1.CreateRoomResponse](t)(olga.CreateRoom(t.Context(), &usherv1.CreateRoomRequest{Name: "Below"})).GetRoom().GetId()
	_, conn := i.join(t, olga, room)
	if conn.GetServerUrl() != i.Config.LiveKit.PublicURL {
		t.Errorf("clients get %s", conn.GetServerUrl())
	}
	eventually(t, "the host is in the meeting", func() bool {
		people := must[*usherv1.ListParticipantsResponse](t)(olga.ListParticipants(t.Context(), &usherv1.ListParticipantsRequest{Room: room}))
		return len(people.GetParticipants()) == 1
	})
	if _, bad, details := diagnose(t, i.Config, time.Minute); len(slices.DeleteFunc(bad, func(name string) bool { return name == "mail" })) > 0 {
		t.Errorf("the doctor finds %v\n%v", bad, details)
	}
}
