package dev

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// launchers are programs that only start this one: `go tool task dev` is go, which starts task, which starts go run, which
// starts usher. When one of them is killed the others stay, and this process would keep the ports without anybody seeing
// it.
var launchers = []string{"go", "task"}

// launcherCheck is how long it may go on after that.
const launcherCheck = 250 * time.Millisecond

// launcherGone returns a channel that is closed when a launcher of this process has ended before it, and nil when there is
// none: a shell is not one, so that `usher dev &` outlives its terminal.
func launcherGone(ctx context.Context) <-chan struct{} {
	chain := []int{os.Getpid()}
	for {
		parent := parentOf(chain[len(chain)-1])
		if !slices.Contains(launchers, nameOf(parent)) {
			break
		}
		chain = append(chain, parent)
	}
	if len(chain) == 1 {
		return nil
	}
	gone := make(chan struct{})
	go func() {
		check := time.NewTicker(launcherCheck)
		defer check.Stop()
		for intact(chain) {
			select {
			case <-ctx.Done():
				return
			case <-check.C:
			}
		}
		close(gone)
	}()
	return gone
}

// intact reports whether each process of the chain is still the child of the next.
func intact(chain []int) bool {
	for i := range len(chain) - 1 {
		if parentOf(chain[i]) != chain[i+1] {
			return false
		}
	}
	return true
}

// parentOf reads a process' parent from /proc/PID/stat (proc(5)): the second field after the name, which stands in
// parentheses and may hold anything. 0: there is no such process.
func parentOf(pid int) int {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return parent
}

func nameOf(pid int) string {
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}
