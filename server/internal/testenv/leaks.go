package testenv

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// leakWait is how long goroutines may take to end after the last test.
const leakWait = 5 * time.Second

// Main is the TestMain of a package: it runs the tests and fails when a goroutine of ours outlives them.
func Main(m *testing.M) {
	code := m.Run()
	if left := leftGoroutines(leakWait); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "goroutines that outlive the tests:\n\n"+left)
		code = 1
	}
	os.Exit(code)
}

// leftGoroutines waits until no goroutine but this one runs our code or was started by it, and returns those that still do
// after that time.
func leftGoroutines(wait time.Duration) string {
	for deadline := time.Now().Add(wait); ; time.Sleep(20 * time.Millisecond) {
		stacks := make([]byte, 1<<20)
		for {
			n := runtime.Stack(stacks, true)
			if n < len(stacks) {
				stacks = stacks[:n]
				break
			}
			stacks = make([]byte, 2*len(stacks))
		}
		var ours []string
		for _, stack := range strings.Split(string(stacks), "\n\n")[1:] { // the first is this one
			if strings.Contains(stack, "github.com/usher-meet/usher/") {
				ours = append(ours, stack)
			}
		}
		if len(ours) == 0 || time.Now().After(deadline) {
			return strings.Join(ours, "\n\n")
		}
	}
}
