package testenv

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/rueidis"
)

// RedisCluster starts an empty Redis Cluster of three nodes for this test, and returns the addresses of its nodes.
func RedisCluster(t testing.TB) []string {
	t.Helper()
	const nodes, slots = 3, 16384
	var servers []*RedisServer
	var buses []int
	addresses := make([]string, 0, nodes)
	for range nodes {
		port, bus := Port(t), Port(t)
		r := &RedisServer{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
		r.Process = Start(t, program(t, "USHER_TEST_REDIS_SERVER"), "--bind", "127.0.0.1", "--port", strconv.Itoa(port),
			"--dir", t.TempDir(), "--save", "", "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus))
		r.wait()
		servers, buses, addresses = append(servers, r), append(buses, bus), append(addresses, r.Address)
	}
	for i, s := range servers {
		c, err := rueidis.NewClient(
			rueidis.ClientOption{InitAddress: []string{s.Address}, ForceSingleClient: true, DisableCache: true},
		)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		first, last := i*slots/nodes, (i+1)*slots/nodes-1
		setup := []rueidis.Completed{
			c.B().Arbitrary("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last)).Build(),
		}
		for j, other := range servers[:i] {
			host, port, _ := net.SplitHostPort(other.Address)
			setup = append(setup, c.B().Arbitrary("CLUSTER", "MEET", host, port, strconv.Itoa(buses[j])).Build())
		}
		for _, result := range c.DoMulti(t.Context(), setup...) {
			if err := result.Error(); err != nil {
				t.Fatal(err)
			}
		}
		defer s.until(func() error {
			info, err := c.Do(t.Context(), c.B().Arbitrary("CLUSTER", "INFO").Build()).ToString()
			if err == nil &&
				(!strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3")) {
				return &net.AddrError{Err: "the cluster is not whole", Addr: s.Address}
			}
			return err
		})
	}
	return addresses
}
