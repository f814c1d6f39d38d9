// Package bench measures Usher as its users meet it: the real program as a process of its own, with PostgreSQL, Redis and
// LiveKit beside it, and clients in this process. `go tool task bench [-- name…]` runs it; docs/performance.md has the
// method and the figures of one run.
//
// Figures are ratios: each is taken beside a baseline that does only the unavoidable work, in the same run, in turns, so
// that a noisy machine disturbs both alike. Each row prints one line that begins with RESULT.
package bench
