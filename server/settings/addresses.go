package settings

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

func listenAddress(s string) (string, error) {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("%q is not host:port or :port", s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("%q has no port between 0 and 65535", s)
	}
	return s, nil
}

func hostPort(s string) (string, error) {
	if strings.ContainsAny(s, "/@") {
		// It may hold a password, so it is not repeated.
		return "", errors.New("want host:port, without redis://, user or password, which have settings of their own")
	}
	if host, _, err := net.SplitHostPort(s); err != nil || host == "" {
		return "", fmt.Errorf("%q is not host:port", s)
	}
	return listenAddress(s)
}

// mailHost is a bare name or address.
func mailHost(s string) (string, error) {
	if strings.ContainsAny(s, "/@ ") || strings.Contains(s, ":") && net.ParseIP(s) == nil {
		return "", errors.New("want the bare name of the mail server: its port and user have settings of their own")
	}
	return s, nil
}

func listID(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is not the number of a list", s)
	}
	return n, nil
}

func portNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port between 1 and 65535", s)
	}
	return int(n), nil
}

// baseURL makes a parser of addresses without a path, of the given schemes. A plain (unencrypted) scheme may be bound to
// loopback, where browsers treat it as secure.
func baseURL(secure, plain string, plainOnlyLoopback bool) func(string) (string, error) {
	return func(s string) (string, error) {
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Host == "" || u.Scheme != secure && u.Scheme != plain:
			return "", fmt.Errorf("want an address that begins with %s:// or %s://", secure, plain)
		case u.User != nil:
			return "", errors.New("an address must not hold a user or password")
		case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
			return "", fmt.Errorf("%q must not have a path, query or fragment", u.Redacted())
		case u.Scheme == plain && plainOnlyLoopback && !isLoopback(u.Hostname()):
			return "", fmt.Errorf("%s:// is for localhost only: use %s://", plain, secure)
		}
		return u.Scheme + "://" + withoutDefaultPort(u.Scheme, strings.ToLower(u.Host)), nil
	}
}

// liveKitURL makes a parser of LiveKit's addresses, of the given schemes. LiveKit may be below a path of a host that serves
// something else, too.
func liveKitURL(secure, plain string) func(string) (string, error) {
	return func(s string) (string, error) {
		u, err := url.Parse(s)
		if err != nil {
			return "", fmt.Errorf("want an address that begins with %s:// or %s://", secure, plain)
		}
		below := strings.TrimRight(u.EscapedPath(), "/")
		if below != "" && path.Clean(below) != below {
			return "", fmt.Errorf("%q must not have a path with empty, \".\" or \"..\" elements", u.Redacted())
		}
		u.Path, u.RawPath = "", ""
		host, err := baseURL(secure, plain, false)(u.String())
		return host + below, err
	}
}

// withoutDefaultPort is a host as browsers write it in the Origin header.
func withoutDefaultPort(scheme, host string) string {
	if scheme == "https" || scheme == "wss" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}

// issuerURL may have a path, and is compared letter by letter with what tokens say, so it is not changed.
func issuerURL(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("want the issuer as the provider writes it, such as https://id.example.org/realms/main")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return "", errors.New("an issuer begins with https:// (http:// is for localhost only)")
	}
	return s, nil
}

func webURL(s string) (string, error) {
	if u, err := url.Parse(s); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("%q is not a web address", s)
	}
	return s, nil
}

func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func databaseURL(s string) (Secret, error) {
	switch {
	case strings.HasPrefix(s, "postgres://"), strings.HasPrefix(s, "postgresql://"):
		if u, err := url.Parse(s); err != nil || u.Host == "" && u.Query().Get("host") == "" {
			return "", errors.New("cannot be read as postgres://user:password@host/database")
		}
	case strings.HasPrefix(s, "sqlite:"):
		if path := strings.TrimPrefix(s, "sqlite:"); path == "" || strings.ContainsAny(path, "?#") {
			return "", errors.New("want sqlite: and the path of a file")
		}
	default:
		return "", errors.New("is neither a postgres:// nor a sqlite: address")
	}
	return Secret(s), nil
}

// showDatabase leaves out the password and all options, which may hold one.
func showDatabase(s string) string {
	if strings.HasPrefix(s, "sqlite:") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return "***"
	}
	user := ""
	if u.User != nil {
		user = u.User.Username() + ":***@"
	}
	return u.Scheme + "://" + user + u.Host + u.Path
}

func origin(s string) (string, error) {
	if s == "*" {
		return "", errors.New("name each origin: * would let any site in")
	}
	return baseURL("https", "http", false)(s)
}

func network(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", s)
	}
	if p.Bits() == 0 {
		return p, fmt.Errorf("%s is everybody, who could then choose the address by which they are limited", p)
	}
	return p.Masked(), nil
}
