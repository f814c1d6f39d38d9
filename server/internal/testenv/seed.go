package testenv

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// Seed is what a test draws its choices from: another one each time, which the test's log names, unless USHER_TEST_SEED has
// one to repeat.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("USHER_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("USHER_TEST_SEED: %v", err)
		}
	}
	t.Logf("USHER_TEST_SEED=%d", seed)
	return seed
}
