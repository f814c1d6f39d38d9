// Package style is how the pages look that Usher writes without the web app: like the web app, in light and dark. Such pages
// run no scripts and load nothing, so their style is in them.
package style

import (
	"crypto/sha256"
	_ "embed" // the style
	"encoding/base64"
	"html/template"
	"math"
	"regexp"
	"strconv"
)

//go:embed style.css
var shared string

// Mark is our mark, for the head of a page: a door that is ajar, and light behind it.
const Mark template.HTML = `<svg class="mark" viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="9" fill="#3d2a4f"/>` +
	`<path d="M10 24V12a6 6 0 0 1 12 0v12z" fill="#f2b84b"/><path d="M10 24V12a6 6 0 0 1 6-6v18z" fill="#fff6e3"/></svg>`

// Style is the content of the style element of a page.
type Style struct {
	CSS template.CSS
	// Source is for style-src of the page's Content-Security-Policy: this style and no other.
	Source string
}

// With is the style of all pages, what a page has of its own, and the operator's colour (#rrggbb) in the place of ours, if
// there is one.
func With(own, colour string) Style {
	css := shared + own + brand(colour)
	sum := sha256.Sum256([]byte(css))
	return Style{
		CSS:    template.CSS(css), //nolint:gosec // our own
		Source: "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'",
	}
}

var hexColour = regexp.MustCompile(`^#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})$`)

// brand does what applyBrand of the web app does: letters on the colour can be read, and so can letters in it.
func brand(colour string) string {
	if !hexColour.MatchString(colour) {
		return ""
	}
	return ":root { --accent: " + colour + "; --on-accent: " + On(colour) + ";" +
		" --link: color-mix(in oklab, " + colour + ", var(--ink) 55%);" +
		" --accent-soft: color-mix(in oklab, " + colour + " 16%, var(--card)); }\n"
}

// On is the colour of letters that can be read on a colour (#rrggbb), light or dark by its relative luminance (WCAG 2.2);
// light for what is no colour.
func On(colour string) string {
	parts := hexColour.FindStringSubmatch(colour)
	if parts == nil {
		return "#ffffff"
	}
	luminance := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, _ := strconv.ParseUint(parts[i+1], 16, 8) // two hexadecimal digits
		c := float64(n) / 255
		if c <= 0.03928 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		luminance += weight * c
	}
	if luminance > 0.18 {
		return "#15131a"
	}
	return "#ffffff"
}
