package auth

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ClientAddress is the address that a request comes from: that of the connection, or, when it is a trusted proxy, the last
// one in X-Forwarded-For that is not. What stands further left was written by the client and is not believed. It is not
// valid for connections without an address.
func ClientAddress(r *http.Request, trusted []netip.Prefix) netip.Addr {
	address := parseAddress(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && IsTrusted(address, trusted); i-- {
		hop := parseAddress(hops[i])
		if !hop.IsValid() {
			break
		}
		address = hop
	}
	return address
}

// ForwardedBy returns who sent a request that says whom it is passed on for, if they are not trusted: they are not believed.
func ForwardedBy(r *http.Request, trusted []netip.Prefix) (peer netip.Addr, ok bool) {
	if r.Header.Get("X-Forwarded-For") == "" {
		return peer, false
	}
	peer = parseAddress(r.RemoteAddr)
	return peer, !IsTrusted(peer, trusted)
}

// IsTrusted reports whether an address is that of a trusted proxy.
func IsTrusted(address netip.Addr, trusted []netip.Prefix) bool {
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(address) })
}

// parseAddress reads an address with or without a port, as proxies write either. An IPv4 address in the form of IPv6 is
// IPv4, and a zone is dropped.
func parseAddress(s string) netip.Addr {
	s = strings.TrimSpace(s)
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}
		}
		address = withPort.Addr()
	}
	return address.Unmap().WithZone("")
}

// AddressPrefix is the network by which strangers are limited: /24 of IPv4, and /64 of IPv6, of which one household or
// machine commonly has all.
func AddressPrefix(address netip.Addr) string {
	bits := 64
	switch {
	case !address.IsValid():
		return "unknown"
	case address.Is4():
		bits = 24
	}
	prefix, err := address.Prefix(bits)
	if err != nil {
		return "unknown"
	}
	return prefix.String()
}
