// Package settingstest has made-up settings for tests.
package settingstest

// Secrets, strong enough to pass.
const (
	Secret        = "test-secret-abcdefghijklmnopqrstuvwxyz-0123456789"
	LiveKitSecret = "test-livekit-secret-of-32-characters-or-more"
)

// Environ is the least that `usher serve` needs.
func Environ(more ...string) []string {
	return append([]string{
		"USHER_PUBLIC_URL=https://meet.example.org",
		"USHER_SECRET=" + Secret,
		"USHER_DATABASE_URL=postgres://usher:test-password@db.example.org/usher?sslmode=disable",
		"USHER_REDIS_ADDRESSES=redis.example.org:6379",
		"USHER_LIVEKIT_URL=http://livekit:7880",
		"USHER_LIVEKIT_PUBLIC_URL=wss://livekit.example.org",
		"USHER_LIVEKIT_KEY=test-key",
		"USHER_LIVEKIT_SECRET=" + LiveKitSecret,
	}, more...)
}
