//go:build unix

package server

import "syscall"

// descriptors is how many descriptors the process may have; 0 where that is not known.
func descriptors() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur) //nolint:unconvert // some systems have it signed
}
