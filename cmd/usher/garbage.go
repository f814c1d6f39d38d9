package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// spareGarbage is how much memory garbage may take before it is collected. Go by itself lets it grow as large as what is
	// in use, which doubles what each guest costs who waits on a stream (docs/performance.md).
	spareGarbage = 40 << 20
	// leastPercent of what is in use is allowed nevertheless: collecting costs time for all that is in use.
	leastPercent, mostPercent = 15, 100
	// garbageCheck is how often that is judged anew, and garbageStep how much the percentage has to differ to be set, which
	// stops everything for a moment.
	garbageCheck, garbageStep = time.Second, 5
)

// boundGarbage tells Go's collector when to run, until ctx is done.
func boundGarbage(ctx context.Context) {
	// What the collector goes through: the heap that it left at last, and where it begins.
	used := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	check := time.NewTicker(garbageCheck)
	defer check.Stop()
	for now := mostPercent; ; {
		select {
		case <-ctx.Done():
			return
		case <-check.C:
		}
		metrics.Read(used)
		var sum uint64
		for _, s := range used {
			sum += s.Value.Uint64()
		}
		if want := garbagePercent(sum); max(want-now, now-want) >= garbageStep {
			debug.SetGCPercent(want)
			now = want
		}
	}
}

// garbagePercent is how much garbage there may be, in percent of what is in use.
func garbagePercent(used uint64) int {
	return int(min(max(spareGarbage*100/max(used, 1), leastPercent), mostPercent))
}
