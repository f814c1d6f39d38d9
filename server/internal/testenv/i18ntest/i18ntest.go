// Package i18ntest checks the sentences of a package in all languages.
package i18ntest

import (
	"encoding/json"
	"io/fs"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/usher-meet/usher/server/web/i18n"
)

var names = regexp.MustCompile(`{{\.\w+}}`)

// Check fails the test unless every sentence is there in every language, with the same names in it, and none is more.
func Check(t *testing.T, files fs.FS, folder string) {
	t.Helper()
	english := read(t, files, folder, "en")
	if len(english) == 0 {
		t.Fatal("there are no sentences")
	}
	for _, lang := range i18n.Languages {
		other := read(t, files, folder, lang)
		for id, text := range english {
			if strings.TrimSpace(other[id]) == "" {
				t.Errorf("%s is missing in %s", id, lang)
			} else if !maps.Equal(named(text), named(other[id])) {
				t.Errorf("%s in %s names other things than in English", id, lang)
			}
		}
		for id := range other {
			if _, ok := english[id]; !ok {
				t.Errorf("%s of %s is not in en", id, lang)
			}
		}
	}
}

func read(t *testing.T, files fs.FS, folder, lang string) map[string]string {
	t.Helper()
	text, err := fs.ReadFile(files, folder+"/"+lang+".json")
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func named(text string) map[string]bool {
	found := map[string]bool{}
	for _, n := range names.FindAllString(text, -1) {
		found[n] = true
	}
	return found
}
