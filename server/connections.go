package server

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/usher-meet/usher/server/auth"
)

// This file bounds how many connections clients have: each takes a descriptor, of which everything else needs some, too.

// boundedListener closes connections over its limits as soon as they are accepted.
type boundedListener struct {
	net.Listener

	// most is how many there may be, and perNetwork how many of one network; 0 for no limit.
	most, perNetwork int
	// trusted are proxies, of which everybody's connections come. Neither they nor this machine count as a network.
	trusted []netip.Prefix
	log     *slog.Logger
	refused *prometheus.CounterVec

	mu       sync.Mutex
	open     int
	networks map[string]int
}

// boundConnections bounds the connections of the API port.
func (b *base) boundConnections(l net.Listener) net.Listener {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "usher_connections_refused_total",
		Help: "Connections of clients that were closed at once, by limit: all, network.",
	}, []string{"limit"})
	b.metrics.MustRegister(refused)
	c := b.config.Connections
	if c.Most == 0 {
		c.Most = connectionsFor(descriptors())
	}
	return &boundedListener{
		Listener: l, most: c.Most, perNetwork: c.PerNetwork, trusted: b.config.TrustedProxies, log: b.log, refused: refused,
		networks: map[string]int{},
	}
}

// keptDescriptors is how many descriptors are kept for all but connections of clients, and at least a quarter.
const keptDescriptors = 256

// connectionsFor is how many connections of clients leave descriptors for everything else. Where nobody knows how many
// descriptors there are, there is no limit.
func connectionsFor(descriptors uint64) int {
	if descriptors == 0 || descriptors > 1<<30 {
		return 0
	}
	all := int(descriptors)
	return max(all/4, all-max(keptDescriptors, all/4))
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		network := l.networkOf(conn.RemoteAddr())
		limit := l.take(network)
		if limit == "" {
			return boundedConn(conn, func() { l.release(network) }), nil
		}
		_ = conn.Close() // it is nobody's
		l.refused.WithLabelValues(limit).Inc()
		l.log.Warn("connection refused", "limit", limit, "advice", adviceFor[limit]) // addresses are in no log
	}
}

// networkOf is the network that a peer counts under; "" for none.
func (l *boundedListener) networkOf(peer net.Addr) string {
	tcp, ok := peer.(*net.TCPAddr)
	if !ok {
		return ""
	}
	address := tcp.AddrPort().Addr().Unmap().WithZone("")
	if address.IsLoopback() || auth.IsTrusted(address, l.trusted) {
		return ""
	}
	return auth.AddressPrefix(address)
}

// take counts a connection, or says which limit refuses it.
func (l *boundedListener) take(network string) (limit string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.most > 0 && l.open >= l.most:
		return "all"
	case network != "" && l.perNetwork > 0 && l.networks[network] >= l.perNetwork:
		return "network"
	}
	l.open++
	if network != "" {
		l.networks[network]++
	}
	return ""
}

func (l *boundedListener) release(network string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if network == "" {
		return
	}
	if l.networks[network]--; l.networks[network] == 0 {
		delete(l.networks, network)
	}
}

// adviceFor is what operators can do about each limit.
var adviceFor = map[string]string{
	"all": "there are as many as USHER_CONNECTIONS, or the descriptors of the process, allow",
	"network": "one network has USHER_CONNECTIONS_PER_NETWORK of them; if that is a proxy of yours, name it in " +
		"USHER_TRUSTED_PROXIES",
}

// boundedConn is a connection that calls release when it is closed, however often that is.
func boundedConn(conn net.Conn, release func()) net.Conn {
	release = sync.OnceFunc(release)
	if tcp, ok := conn.(*net.TCPConn); ok {
		return tcpConn{tcp, release} // with what net/http looks for, such as sending files
	}
	return otherConn{conn, release}
}

type tcpConn struct {
	*net.TCPConn

	release func()
}

// Close implements net.Conn.
func (c tcpConn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

type otherConn struct {
	net.Conn

	release func()
}

// Close implements net.Conn.
func (c otherConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
