package server_test

import (
	"net"
	"testing"
	"time"

	"github.com/usher-meet/usher/server"
	"github.com/usher-meet/usher/server/settings"
)

// With TLS nothing is said in clear, neither to Redis nor to the sentinels, who get the password too.
func TestOpenRedis_tls(t *testing.T) {
	t.Parallel()
	for name, master := range map[string]string{"one server": "", "sentinels": "main"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			first := make(chan byte, 1)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
				b := make([]byte, 1)
				if _, err := conn.Read(b); err == nil {
					first <- b[0]
				}
				close(first)
			}()
			client, err := server.OpenRedis(settings.RedisConfig{
				Addresses: []string{l.Addr().String()}, Password: "test-password", SentinelMaster: master, TLS: true,
			})
			if err == nil {
				client.Close()
				t.Fatal("a Redis that does not speak TLS was accepted")
			}
			// RFC 8446, section 5.1: a handshake.
			if b := <-first; b != 22 {
				t.Errorf("the first byte was %q, want that of a TLS handshake", b)
			}
		})
	}
}
