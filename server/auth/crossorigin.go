package auth

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	connectcors "connectrpc.com/cors"

	"github.com/usher-meet/usher/server/fault"
)

// ProtectOrigin returns middleware that refuses what a browser sends from another site, unless the method is safe or the
// origin is trusted. The refusal is [ErrCrossOrigin] in the protocol of the request.
//
// GET passes from everywhere, so nothing that GET reaches may have an effect; see [Authenticator] for whose name it is in.
func ProtectOrigin(trusted []string) (func(http.Handler) http.Handler, error) {
	protection := http.NewCrossOriginProtection()
	for _, origin := range trusted {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("trust origin: %w", err)
		}
	}
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault.Write(w, r, fault.Connect(ErrCrossOrigin))
	}))
	return protection.Handler, nil
}

// corsHeaders are the request headers that pages of trusted origins may send beyond those of Connect.
var (
	corsMethods = strings.Join(connectcors.AllowedMethods(), ", ")
	corsHeaders = strings.Join(append(connectcors.AllowedHeaders(), "Authorization"), ", ")
	corsExposed = strings.Join(append(connectcors.ExposedHeaders(), "Retry-After", "X-Request-Id"), ", ")
)

// AllowOrigins is middleware that lets pages of trusted origins call and read the answers (CORS), without cookies. It
// answers their preflight requests itself, which carry no credential.
func AllowOrigins(trusted []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if !slices.Contains(trusted, origin) {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", corsMethods)
			h.Set("Access-Control-Allow-Headers", corsHeaders)
			h.Set("Access-Control-Max-Age", "7200") // what Chromium caps it to
			w.WriteHeader(http.StatusNoContent)
			return
		}
		h.Set("Access-Control-Expose-Headers", corsExposed)
		next.ServeHTTP(w, r)
	})
}

// fromElsewhere reports whether a page of another origin sent a request. Cookies of such requests are ignored: those from a
// trusted origin come with bearer tokens only, and others, which can only be safe, are nobody's.
//
// Browsers send Sec-Fetch-Site on https and loopback, and Origin on all but plain GETs; other programs send neither.
func fromElsewhere(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return false
	case "":
	default:
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != r.Host
}
