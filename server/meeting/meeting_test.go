package meeting

import (
	"testing"
	"time"
)

func TestReach(t *testing.T) {
	t.Parallel()
	for life, want := range map[time.Duration]time.Duration{
		time.Minute:      12 * time.Minute, // LiveKit's own tokens live for 10
		10 * time.Minute: 12 * time.Minute,
		time.Hour:        62 * time.Minute,
	} {
		if got := Reach(life); got != want {
			t.Errorf("Reach(%v) = %v, want %v", life, got, want)
		}
	}
}
