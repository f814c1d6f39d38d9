package dev

import "syscall"

// childAttributes make a child die with this process, however that ends, and keep the terminal's Ctrl-C from it: it is
// stopped in order.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
