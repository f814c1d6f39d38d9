package main

import "testing"

func TestGarbagePercent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		used uint64
		want int
	}{
		{0, 100}, {20 << 20, 100}, {40 << 20, 100}, {80 << 20, 50}, {160 << 20, 25}, {1 << 30, 15}, {1 << 40, 15},
	} {
		if got := garbagePercent(tt.used); got != tt.want {
			t.Errorf("garbagePercent(%d MiB) = %d, want %d", tt.used>>20, got, tt.want)
		}
	}
}
