// Package conformance tries every fact about LiveKit on which Usher depends, on a real livekit-server. Its tests are the
// facts: `go tool task conformance [-- PATH…]` runs them and prints a table, and docs/livekit-versions.md has that table for
// the versions that are supported.
//
// They have a build tag, so that they are no part of `go test ./...`: they say something about LiveKit, which changes only
// when another version of it is taken.
//
// A fact speaks of LiveKit alone: nothing of Usher's server runs here. How Usher uses LiveKit is tested beside that code.
package conformance
