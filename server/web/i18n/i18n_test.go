package i18n

import (
	"testing"
	"testing/fstest"
	"time"
)

func TestText(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{}
	for _, lang := range Languages {
		files["x/"+lang+".json"] = &fstest.MapFile{Data: []byte(`{"hello": "` + lang + ` {{.Name}}"}`)}
	}
	files["x/en.json"] = &fstest.MapFile{Data: []byte(`{"hello": "en {{.Name}}", "bye": "Bye"}`)}
	s := Load(files, "x").Localizer("fr", map[string]any{"Name": "{{.Name}} <b>"})
	if got, want := s.Text("hello"), "fr {{.Name}} <b>"; got != want || s.Err() != nil {
		t.Errorf("said %q, %v, want %q", got, s.Err(), want)
	}
	// What is there in English only is missing.
	if s.Text("bye"); s.Err() == nil {
		t.Error("a sentence that is missing is no error")
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		instance, wanted []string
		want             string
	}{
		{[]string{"en", "fr"}, []string{"fr"}, "fr"},
		{[]string{"en", "fr"}, []string{"fr-CA"}, "fr"},
		{[]string{"en"}, []string{"de-AT"}, "de"},
		{[]string{"nl", "en"}, nil, "nl"},
		{[]string{"de", "en"}, []string{"ja"}, "de"},
		{[]string{"de", "en"}, []string{"ja", "en-GB"}, "en"},
		{[]string{"fr"}, []string{"not a language"}, "fr"},
		{[]string{"fr"}, []string{"", "en-US"}, "en"},
		{[]string{"ja"}, nil, "en"},
	} {
		if got := Match(tt.instance, tt.wanted...); got != tt.want {
			t.Errorf("Match(%v, %q) = %s, want %s", tt.instance, tt.wanted, got, tt.want)
		}
	}
	if got := Accepted("de-CH,de;q=0.8,en;q=0.5"); len(got) != 3 || got[0] != "de-CH" {
		t.Errorf("accepted %q", got)
	}
	if got := Accepted("xx-unknown,fr;q=0.3,nl;q=0.7,\x00"); len(got) != 2 || got[0] != "nl" {
		t.Errorf("beside a tag that is none: %v, want nl and fr", got)
	}
	if got := Accepted("\x00;;"); got != nil {
		t.Errorf("accepted %q of nonsense", got)
	}
}

func TestDates(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{}
	for _, lang := range Languages {
		files["x/"+lang+".json"] = &fstest.MapFile{Data: []byte(`{}`)}
	}
	sentences := Load(files, "x")
	start := time.Date(2026, 3, 1, 22, 30, 0, 0, time.UTC)
	for _, tt := range []struct{ lang, zone, want string }{
		{"en", "America/New_York", "Sunday, March 1, 2026, 5:30 PM – 6:30 PM (America/New York, UTC−5)"},
		{"fr", "Europe/Paris", "dimanche 1er mars 2026 à 23:30 – lundi 2 mars 2026 à 00:30 (Europe/Paris, UTC+1)"},
		{"de", "Asia/Kolkata", "Montag, 2. März 2026, 04:00 Uhr – 05:00 Uhr (Asia/Kolkata, UTC+5:30)"},
		{"nl", "", "zondag 1 maart 2026 om 22:30 – 23:30 (UTC)"},
		{"nl", "No/Where", "zondag 1 maart 2026 om 22:30 – 23:30 (UTC)"},
	} {
		zone := Zone(tt.zone)
		if got := sentences.Localizer(tt.lang, nil).Span(start.In(zone), start.Add(time.Hour).In(zone)); got != tt.want {
			t.Errorf("%s in %s: %q, want %q", tt.lang, tt.zone, got, tt.want)
		}
	}
	if got := Length(65 * time.Second); got != "1:05" {
		t.Errorf("length %s, want 1:05", got)
	}
}
