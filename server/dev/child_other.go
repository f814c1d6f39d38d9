//go:build unix && !linux

package dev

import "syscall"

// childAttributes keep the terminal's Ctrl-C from a child: it is stopped in order. A child outlives a kill -9 of this
// process here: only Linux can do better.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
