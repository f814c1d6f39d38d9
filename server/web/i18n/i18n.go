// Package i18n localizes what Usher writes in the languages that people get letters and pages in: sentences, of which each
// package brings its own, and dates, of which Go knows the English names only.
//
// A sentence that is missing in a language is an error: nobody gets half of something in another one.
package i18n

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"golang.org/x/text/language"
)

// Languages are those that there are sentences in.
var Languages = []string{"en", "fr", "de", "nl"}

// Catalog holds the sentences of one package, by language.
type Catalog struct{ bundle *i18n.Bundle }

// Load reads one file of JSON a language, such as "translations/fr.json". It panics when one cannot be read: they are
// embedded.
func Load(files fs.FS, folder string) *Catalog {
	b := i18n.NewBundle(language.English)
	for _, l := range Languages {
		if _, err := b.LoadMessageFileFS(files, folder+"/"+l+".json"); err != nil {
			panic(err)
		}
	}
	return &Catalog{b}
}

// Match is the language of ours that is nearest to the first one wanted that has any, else the first of those that the
// instance has.
func Match(instance []string, wanted ...string) string {
	tags, names := []language.Tag{}, []string{}
	for _, list := range [][]string{instance, Languages} {
		for _, l := range list {
			base, _ := language.Make(l).Base()
			if _, ok := calendars[base.String()]; ok {
				tags, names = append(tags, language.Make(base.String())), append(names, base.String())
			}
		}
	}
	matcher := language.NewMatcher(tags)
	for _, one := range wanted {
		tag, err := language.Parse(one)
		if err != nil || one == "" {
			continue
		}
		if _, n, confidence := matcher.Match(tag); confidence >= language.High {
			return names[n]
		}
	}
	return names[0]
}

// Accepted are the languages of an Accept-Language header, the most wanted first, without what is none.
func Accepted(header string) []string {
	var known []string
	for one := range strings.SplitSeq(header, ",") {
		if _, _, err := language.ParseAcceptLanguage(one); err == nil {
			known = append(known, one)
		}
	}
	tags, _, err := language.ParseAcceptLanguage(strings.Join(known, ","))
	if err != nil || len(tags) == 0 {
		return nil // it is too long, or says nothing
	}
	names := make([]string, len(tags))
	for i, t := range tags {
		names[i] = t.String()
	}
	return names
}

// Localizer writes sentences and dates in one language.
type Localizer struct {
	// Language is its tag.
	Language string

	localizer *i18n.Localizer
	words     calendarWords
	data      map[string]any
	err       error
}

// Localizer returns the localizer of a language that [Match] chose. The data fill the placeholders of the sentences.
func (s *Catalog) Localizer(lang string, data map[string]any) *Localizer {
	return &Localizer{Language: lang, localizer: i18n.NewLocalizer(s.bundle, lang), words: calendars[lang], data: data}
}

// Text is a sentence. One that is missing is empty, and then [Localizer.Err] says so.
func (s *Localizer) Text(id string) string {
	text, tag, err := s.localizer.LocalizeWithTag(&i18n.LocalizeConfig{MessageID: id, TemplateData: s.data})
	if err == nil && tag.String() != s.Language {
		err = fmt.Errorf("no translation into %s", s.Language)
	}
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("sentence %s: %w", id, err)
	}
	return strings.TrimSpace(text)
}

// Err is the first sentence that was missing.
func (s *Localizer) Err() error { return s.err }
