package lease_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
	"github.com/usher-meet/usher/server/lease"
)

func TestRedis(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	r, room := lease.Redis{Client: server.Client(t)}, uuid.New()
	take := func(room uuid.UUID, name string, d time.Duration, want bool) time.Duration {
		t.Helper()
		taken, left, err := r.Take(t.Context(), room, name, d)
		if err != nil || taken != want {
			t.Fatalf("Take(%q) = %t, %v, want %t", name, taken, err, want)
		}
		return left
	}
	take(room, "turn", time.Hour, true)
	if left := take(room, "turn", time.Minute, false); left <= time.Minute || left > time.Hour {
		t.Errorf("%v are left of an hour", left)
	}
	take(room, "alone", time.Hour, true)
	take(uuid.New(), "turn", time.Hour, true)
	// Servers of two releases share the key, and the room in braces is the hash tag.
	key := "usher:1:lobby:{" + room.String() + "}:turn"
	if n, err := r.Client.Do(t.Context(), r.Client.B().Exists().Key(key).Build()).AsInt64(); n != 1 || err != nil {
		t.Errorf("%d keys %s, %v", n, key, err)
	}
	if err := r.Release(t.Context(), room, "turn"); err != nil {
		t.Fatal(err)
	}
	take(room, "turn", 50*time.Millisecond, true)
	time.Sleep(100 * time.Millisecond)
	take(room, "turn", time.Hour, true)

	server.Kill()
	if taken, _, err := r.Take(t.Context(), room, "other", time.Hour); taken || !errors.Is(err, fault.ErrRedis) {
		t.Errorf("without Redis: Take = %t, %v", taken, err)
	}
	if err := r.Release(t.Context(), room, "turn"); !errors.Is(err, fault.ErrRedis) {
		t.Errorf("without Redis: Release = %v", err)
	}
}
