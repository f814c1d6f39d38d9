package testenv

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Test programs take ports in blocks below those that the kernel gives to others. The first port of a block is held by its
// program, so no two have one; and within its block a program begins again only after all others.
const (
	firstPort = 10_000
	blockSize = 500
	blocks    = 20
)

type portBlock struct {
	mu   sync.Mutex
	hold net.Listener
	base int
	next int
}

var ports = sync.OnceValues(func() (*portBlock, error) {
	for _, n := range rand.Perm(blocks) {
		base := firstPort + n*blockSize
		if l, err := net.Listen("tcp", address(base)); err == nil {
			return &portBlock{hold: l, base: base}, nil
		}
	}
	return nil, errors.New("all blocks of ports are taken")
})

// Port returns a loopback port that nothing listens on, and that no other test is given soon: a program may be killed and
// started again on its port, and no client of its meets another one's there.
func Port(t testing.TB) int {
	t.Helper()
	b, err := ports()
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for range blockSize {
		b.next = b.next%(blockSize-1) + 1
		if l, err := net.Listen("tcp", address(b.base+b.next)); err == nil {
			_ = l.Close()
			return b.base + b.next
		}
	}
	t.Fatalf("no port is free from %d on", b.base)
	return 0
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
