package text

import (
	"regexp"
	"strings"
	"testing"
)

func TestSlug(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in, want string
	}{
		{"a plain name", "Weekly Meeting", "weekly-meeting"},
		{"accents", "Réunion d'équipe à Besançon", "reunion-d-equipe-a-besancon"},
		{"accents as characters of their own", "Re\u0301union", "reunion"},
		{"compatibility forms", "Ｆｕｌｌ ½ ﬁn ²", "full-1-2-fin-2"},
		{"runs of other characters", "--a  &&  b--", "a-b"},
		{"a dot", "robots.txt", "robots-txt"},
		{"letters that are no letter with an accent", "Straße in Łódź, Ærø, Þingvellir, Œuvre", "strasse-in-lodz-aero-thingvellir-oeuvre"},
		{"umlauts as ever", "Müller", "muller"},
		{"Cyrillic", "Большой объём", "bolshoi-obiom"},
		{"Cyrillic with accents as characters of their own", "и\u0306", "i"},
		{"Greek", "Ελλάδα", "ellada"},
		{"Chinese", "会議", "hui-yi"},
		{"Korean, composed or not", "회의 \u1112\u116c", "hoeyi-hoe"},
		{"no letters", "☎ 🎉 ''", ""},
		{"letters that are longer in ASCII", strings.Repeat("ß", 60), strings.Repeat("s", 100)},
		{"right-to-left marks and control characters", "\u202ea\u200f\x00b", "a-b"},
		{"too long", strings.Repeat("a", 120), strings.Repeat("a", 100)},
		{"cut at a dash", strings.Repeat("a", 99) + " b", strings.Repeat("a", 99)},
		{"cut after a dash", strings.Repeat("a", 98) + " bc", strings.Repeat("a", 98) + "-b"},
		{"empty", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Slug(tt.in); got != tt.want {
				t.Errorf("Slug(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

// Links that were written with the name of a room find the slug that it got.
func TestFormerSlug(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Straße": "stra-e", "Łódź": "odz", "Müller": "muller", "会議": "", "Weekly Meeting": "weekly-meeting", "stra-e": "stra-e",
		strings.Repeat("a", 99) + " b": strings.Repeat("a", 99), strings.Repeat("a", 98) + " bc": strings.Repeat("a", 98) + "-b",
	} {
		if got := FormerSlug(in); got != want {
			t.Errorf("FormerSlug(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestAllowedSlug(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want bool
	}{
		{"weekly", true},
		{"api-v2", true},
		{"2026", true},
		{"", false},
		{"api", false},
		{"favicon", false},
		{"recordings", false},
		{"Weekly", false},
		{"weekly.", false},
		{"-weekly", false},
		{"0d5ae0d1-8f4b-4a0c-9d7a-5b0f6f1c2d3e", false},
		{"0d5ae0d18f4b4a0c9d7a5b0f6f1c2d3e", false},
		{"0d5ae0d18f4b4a0c9d7a5b0f6f1c2d3", true},
	}
	for _, tt := range tests {
		if got := AllowedSlug(tt.in); got != tt.want {
			t.Errorf("AllowedSlug(%q) = %t, want %t", tt.in, got, tt.want)
		}
	}
}

func TestParseID_spellings(t *testing.T) {
	t.Parallel()
	const id = "0d5ae0d1-8f4b-4a0c-9d7a-5b0f6f1c2d3e"
	for _, in := range []string{
		id, strings.ToUpper(id), "{" + id + "}", "urn:uuid:" + id, strings.ReplaceAll(id, "-", ""), " " + id + "\n",
	} {
		if got, ok := ParseID(in); !ok || got.String() != id {
			t.Errorf("ParseID(%q) = %s, %t", in, got, ok)
		}
	}
	for _, in := range []string{"", "weekly", id[:35], id + "0", strings.ReplaceAll(id, "-", "_")} {
		if got, ok := ParseID(in); ok {
			t.Errorf("ParseID(%q) = %s, want none", in, got)
		}
	}
}

func FuzzSlug(f *testing.F) {
	for _, seed := range []string{
		"", "Weekly Meeting", "api", "Réunion", "{0d5ae0d1-8f4b-4a0c-9d7a-5b0f6f1c2d3e}", "½ ﷺ", "\u202e\x00", "a--b", "\xff",
	} {
		f.Add(seed)
	}
	shape := regexp.MustCompile(`^([a-z0-9]+(-[a-z0-9]+)*)?$`)
	f.Fuzz(func(t *testing.T, in string) {
		got := Slug(in)
		switch {
		case !shape.MatchString(got), len(got) > MaxSlug:
			t.Errorf("Slug(%q) = %q", in, got)
		case Slug(got) != got:
			t.Errorf("Slug(%q) = %q, and again %q", in, got, Slug(got))
		case Slug(strings.ToUpper(got)) != got:
			t.Errorf("%q is not found in upper case", got)
		}
		if _, isID := ParseID(got); isID && AllowedSlug(got) {
			t.Errorf("AllowedSlug(%q), which is an id", got)
		}
	})
}
