package testenv

import (
	"strings"
	"testing"
	"time"
)

func TestLeftGoroutines(t *testing.T) {
	if left := leftGoroutines(time.Second); strings.Contains(left, "forgotten") {
		t.Errorf("before: %s", left)
	}
	started, stop := make(chan struct{}), make(chan struct{})
	go forgotten(started, stop)
	<-started // until then its stack does not say what it runs
	if left := leftGoroutines(0); !strings.Contains(left, "forgotten") {
		t.Errorf("a goroutine of ours is not found:\n%s", left)
	}
	close(stop)
	if left := leftGoroutines(5 * time.Second); strings.Contains(left, "forgotten") {
		t.Errorf("it has ended, and is found:\n%s", left)
	}
}

func forgotten(started, stop chan struct{}) { close(started); <-stop }
