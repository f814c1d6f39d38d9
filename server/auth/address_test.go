package auth

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestClientAddress(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		name, remote string
		forwarded    []string
		address      string
		prefix       string
	}{
		{"IPv4", "192.0.2.77:1234", nil, "192.0.2.77", "192.0.2.0/24"},
		{"IPv6", "[2001:db8:1:2:3:4:5:6]:1234", nil, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"IPv4 written as IPv6", "[::ffff:192.0.2.77]:1234", nil, "192.0.2.77", "192.0.2.0/24"},
		{"IPv6 with a zone", "[fe80::1%eth0]:1234", nil, "fe80::1", "fe80::/64"},
		{"a proxy that is not trusted", "192.0.2.77:1", []string{"198.51.100.1"}, "192.0.2.77", "192.0.2.0/24"},
		{"one proxy", "10.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.1", "198.51.100.0/24"},
		{"two proxies", "10.0.0.1:1", []string{"198.51.100.1, 10.0.0.2"}, "198.51.100.1", "198.51.100.0/24"},
		{"what the client wrote before", "10.0.0.1:1", []string{"203.0.113.5, 198.51.100.1, 10.0.0.2"}, "198.51.100.1", "198.51.100.0/24"},
		{"a trusted address that the client wrote", "10.0.0.1:1", []string{"10.9.9.9, 198.51.100.1"}, "198.51.100.1", "198.51.100.0/24"},
		{"several headers", "10.0.0.1:1", []string{"203.0.113.5", "198.51.100.1"}, "198.51.100.1", "198.51.100.0/24"},
		{"only proxies", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3", "10.0.0.0/24"},
		{"nonsense is not passed over", "10.0.0.1:1", []string{"198.51.100.1, unknown"}, "10.0.0.1", "10.0.0.0/24"},
		{"an empty header", "10.0.0.1:1", []string{""}, "10.0.0.1", "10.0.0.0/24"},
		{"with a port", "10.0.0.1:1", []string{"198.51.100.1:4711"}, "198.51.100.1", "198.51.100.0/24"},
		{"IPv6 in brackets", "10.0.0.1:1", []string{"[2001:db8::1]"}, "2001:db8::1", "2001:db8::/64"},
		{"IPv6 in brackets with a port", "10.0.0.1:1", []string{"[2001:db8::1]:4711"}, "2001:db8::1", "2001:db8::/64"},
		{"a proxy written as IPv6", "[::ffff:10.0.0.1]:1", []string{"198.51.100.1"}, "198.51.100.1", "198.51.100.0/24"},
		{"no address", "@", nil, "invalid IP", "unknown"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": c.forwarded}}
		got := ClientAddress(r, trusted)
		if got.String() != c.address || AddressPrefix(got) != c.prefix {
			t.Errorf("%s: %s in %s, want %s in %s", c.name, got, AddressPrefix(got), c.address, c.prefix)
		}
	}
}
