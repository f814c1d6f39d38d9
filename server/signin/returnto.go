package signin

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// maxReturnTo bounds return_to, which travels in a cookie; browsers keep 4,096 bytes of one.
const maxReturnTo = 1500

// ReturnAddress is where to send a browser after sign-in: what was asked for if it is a path of this server or an address
// of an allowed origin, else the front page. The answer is always an absolute address whose origin is publicURL or one of
// allowed, so that no reading of it by a browser leads elsewhere.
func ReturnAddress(asked, publicURL string, allowed []string) string {
	home := strings.TrimSuffix(publicURL, "/")
	front := home + "/"
	if asked == "" || len(asked) > maxReturnTo || strings.ContainsFunc(asked, unsafeInAddress) {
		return front
	}
	u, err := url.Parse(asked)
	if err != nil || u.User != nil || u.Opaque != "" {
		return front
	}
	origin := home
	if u.Scheme != "" || u.Host != "" {
		origin = strings.ToLower(u.Scheme + "://" + u.Host)
	} else if !strings.HasPrefix(asked, "/") || strings.HasPrefix(asked, "//") {
		return front
	}
	isAllowed := func(other string) bool { return strings.EqualFold(other, origin) }
	switch {
	case isAllowed(home):
		if isSignInPath(u.Path) {
			return front // it would go round in circles
		}
	case !slices.ContainsFunc(allowed, isAllowed):
		return front
	}
	address := origin + "/" + strings.TrimPrefix(u.EscapedPath(), "/")
	if u.RawQuery != "" {
		address += "?" + u.RawQuery
	}
	if u.Fragment != "" {
		address += "#" + u.EscapedFragment()
	}
	return address
}

func isSignInPath(p string) bool {
	p = path.Clean(p)
	return p == "/auth" || strings.HasPrefix(p, "/auth/")
}

// unsafeInAddress finds what browsers drop (tabs, line ends), or read as another character (a backslash as a slash), and
// what has no place in an address.
func unsafeInAddress(r rune) bool {
	return r <= ' ' || r == '\\' || r == 0x7f || r > 0x7e
}
