package brevo

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/usher-meet/usher/server/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestBrevo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		status int
		// ok is true when the contact was taken, refused when trying again would be in vain.
		ok, refused bool
	}{
		{name: "made", status: http.StatusCreated, ok: true},
		{name: "was there", status: http.StatusNoContent, ok: true},
		{name: "wrong key", status: http.StatusUnauthorized, refused: true},
		{name: "wrong list", status: http.StatusBadRequest, refused: true},
		{name: "led elsewhere", status: http.StatusFound, refused: true},
		{name: "too many", status: http.StatusTooManyRequests},
		{name: "broken", status: http.StatusBadGateway},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got map[string]any
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.URL.Path != "/v3/contacts" || r.Header.Get("Api-Key") != "test-key" {
					t.Errorf("%s %s with key %q", r.Method, r.URL.Path, r.Header.Get("Api-Key"))
				}
				if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
					t.Error(err)
				}
				w.Header().Set("Location", "https://elsewhere.example/")
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(`{"message":"no ada@people.example"}`))
			}))
			defer server.Close()
			b := &Client{URL: server.URL, Key: "test-key", Lists: []int64{3, 7}, Attributes: map[string]string{"SOURCE": "usher"}, Timeout: 5 * time.Second}
			err := b.Upsert(t.Context(), "ada@people.example")
			if (err == nil) != tt.ok || errors.Is(err, ErrRefused) != tt.refused {
				t.Errorf("got %v, want ok %v, refused %v", err, tt.ok, tt.refused)
			}
			if err != nil && strings.Contains(err.Error(), "@") {
				t.Errorf("the error holds an address: %v", err)
			}
			want := map[string]any{
				"email": "ada@people.example", "updateEnabled": true, "listIds": []any{3.0, 7.0}, "attributes": map[string]any{"SOURCE": "usher"},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBrevo_silent(t *testing.T) {
	t.Parallel()
	speak := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-speak }))
	defer server.Close()
	defer close(speak)
	b := &Client{URL: server.URL, Timeout: 50 * time.Millisecond}
	if err := b.Upsert(t.Context(), "ada@people.example"); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want a time-out", err)
	}
	b.URL = "http://127.0.0.1:1"
	if err := b.Upsert(t.Context(), "ada@people.example"); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want not to be reached", err)
	}
}
