//go:build !linux

package server

import "syscall"

// boundUnacked leaves connections as they are: other systems have no such option, or another one.
func boundUnacked(_, _ string, _ syscall.RawConn) error { return nil }
