// Package web holds the built web app, so that one binary has everything. Its sources are TypeScript: see CONTRIBUTING.md.
package web

import (
	"embed"
	"io/fs"
)

// The README is in the repository, so that a build without Node finds something to embed.
//
//go:embed all:dist
var dist embed.FS

// Files is the built web app, or nil when this binary was built without it.
func Files() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the name above
	}
	if _, err := fs.Stat(files, "index.html"); err != nil {
		return nil
	}
	return files
}
