package mail

import (
	"embed"
	"fmt"
	"strings"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"golang.org/x/text/language"
)

//go:embed translations/*.json
var translations embed.FS

// Languages are those that letters can be written in.
var Languages = []string{"en", "fr", "de", "nl"}

var bundle = func() *i18n.Bundle {
	b := i18n.NewBundle(language.English)
	for _, l := range Languages {
		if _, err := b.LoadMessageFileFS(translations, "translations/"+l+".json"); err != nil {
			panic(err) // embedded: every test would fail
		}
	}
	return b
}()

// match is the language of ours that is nearest to the one wanted, else the first of those that the instance has.
func match(wanted string, instance []string) string {
	tags := []language.Tag{}
	names := []string{}
	for _, list := range [][]string{instance, Languages} {
		for _, l := range list {
			base, _ := language.Make(l).Base()
			if _, ok := calendars[base.String()]; ok {
				tags, names = append(tags, language.Make(base.String())), append(names, base.String())
			}
		}
	}
	tag, err := language.Parse(wanted)
	if err != nil {
		return names[0]
	}
	_, n, confidence := language.NewMatcher(tags).Match(tag)
	if confidence < language.High {
		return names[0]
	}
	return names[n]
}

// speaker says things in one language.
type speaker struct {
	language  string
	localizer *i18n.Localizer
	words     calendarWords
	// data are what the sentences name.
	data map[string]any
	// err is the first sentence that there was no translation of.
	err error
}

func newSpeaker(lang string, data map[string]any) *speaker {
	return &speaker{language: lang, localizer: i18n.NewLocalizer(bundle, lang), words: calendars[lang], data: data}
}

// say is a sentence. One that is missing is an error of the letter: nobody gets half of it in another language.
func (s *speaker) say(id string) string {
	text, tag, err := s.localizer.LocalizeWithTag(&i18n.LocalizeConfig{MessageID: id, TemplateData: s.data})
	if err == nil && tag.String() != s.language {
		err = fmt.Errorf("no translation into %s", s.language)
	}
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("sentence %s: %w", id, err)
	}
	return strings.TrimSpace(text)
}
