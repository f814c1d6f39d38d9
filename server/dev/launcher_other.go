//go:build unix && !linux

package dev

import "context"

// launcherGone would tell that `go tool task dev` was killed: only Linux shows it.
func launcherGone(context.Context) <-chan struct{} { return nil }
