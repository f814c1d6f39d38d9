package smallstack_test

import (
	"testing"

	"github.com/usher-meet/usher/server/smallstack"
)

func TestCall(t *testing.T) {
	t.Parallel()
	ran := false
	smallstack.Call(func() { ran = true })
	if !ran {
		t.Error("Call returned before what it calls")
	}
	defer func() {
		if got := recover(); got != "told" {
			t.Errorf("panicked with %v, want what the call panicked with", got)
		}
	}()
	smallstack.Call(func() { panic("told") })
	t.Error("the panic was lost")
}
