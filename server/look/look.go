// Package look is how the pages look that Usher writes without the web app: like the web app, in light and dark. Such pages
// run no scripts and load nothing, so their style is in them.
package look

import (
	"crypto/sha256"
	_ "embed" // the style
	"encoding/base64"
	"html/template"
)

//go:embed look.css
var shared string

// Mark is our mark, for the head of a page: a door that is ajar, and light behind it.
const Mark template.HTML = `<svg class="mark" viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="9" fill="#3d2a4f"/>` +
	`<path d="M10 24V12a6 6 0 0 1 12 0v12z" fill="#f2b84b"/><path d="M10 24V12a6 6 0 0 1 6-6v18z" fill="#fff6e3"/></svg>`

// Style is what stands in the style element of a page.
type Style struct {
	CSS template.CSS
	// Source is for style-src of the page's Content-Security-Policy: this style and no other.
	Source string
}

// With is the style of all pages, and what a page has of its own.
func With(own string) Style {
	css := shared + own
	sum := sha256.Sum256([]byte(css))
	return Style{CSS: template.CSS(css), Source: "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"} //nolint:gosec // our own
}
