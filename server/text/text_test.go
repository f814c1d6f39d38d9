package text

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in, want string
	}{
		{"nothing to do", "Weekly meeting", "Weekly meeting"},
		{"white space around and inside", " \t Weekly \n\u00a0 meeting\u2028", "Weekly meeting"},
		{"nothing but white space", " \u3000\t", ""},
		{"control characters", "a\x00b\x07c\u0085d\x7f", "abc d"},
		{"right-to-left override", "Marie\u202egnp.exe", "Mariegnp.exe"},
		{"right-to-left mark", "\u200fאבג\u200f", "אבג"},
		{"isolates", "\u2066Marie\u2069", "Marie"},
		{"byte order mark, soft hyphen, word joiner", "\ufeffMa\u00adri\u2060e", "Marie"},
		{"nothing but fillers", "\u3164\u115f\uffa0\u2800\u200b", ""},
		{"hidden text in tag characters", "Marie\U000e0068\U000e0069", "Marie"},
		{"a Persian word", "می\u200cخواهم", "می\u200cخواهم"},
		{"a family", "👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"},
		{"joiners at the ends, at a space and in a row", "\u200da\u200d\u200c\u200db \u200d c\u200c", "a\u200db c"},
		{"an Arabic number sign", "\u0600123", "\u0600123"},
		{"a pile of marks", "Z" + strings.Repeat("\u0301", 40) + "a", "Ź" + strings.Repeat("\u0301", 10) + "a"},
		{"a pile of marks that are two each", "x" + strings.Repeat("\u0344", 40), "\u1e8d" + strings.Repeat("\u0301\u0308", 5)},
		{"a pile of marks with joiners", "Z\u0301" + strings.Repeat("\u0301\u200d", 12), "Ź" + strings.Repeat("\u0301\u200d", 9) + "\u0301"},
		{"decomposed", "Jose\u0301", "José"},
		{"bytes that are not UTF-8", "Mar\xffie", "Marie"},
		{"too long", strings.Repeat("é", 21), strings.Repeat("é", 20)},
		{"cut at a space", strings.Repeat("a", 19) + " b", strings.Repeat("a", 19)},
		{"cut at a joiner", strings.Repeat("a", 19) + "\u200db", strings.Repeat("a", 19)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Clean(tt.in, 20); got != tt.want {
				t.Errorf("Clean(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestMakeStorable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":               "",
		"pipeline broke": "pipeline broke",
		"a\x00b\x00":     "a\ufffdb\ufffd",
		"half a \xc3(":   "half a \ufffd(",
		"\ufffd":         "\ufffd",
	} {
		if got := MakeStorable(in); got != want || !Storable(got) {
			t.Errorf("MakeStorable(%q) = %q, want %q", in, got, want)
		}
		if Storable(in) != (in == want) {
			t.Errorf("Storable(%q) = %t", in, Storable(in))
		}
	}
}

func TestPersonName(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, full, short, want string
	}{
		{"full name", "Marie Dupont", "Marie", "Marie Dupont"},
		{"short name only", " ", "Marie", "Marie"},
		{"the address as a name", "Marie@Example.org", "Marie", "Marie"},
		{"nothing but the address", "marie@example.org", "marie@example.org", ""},
		{"the address as it is spelt elsewhere", " \"Marie\"@EXAMPLE。org ", "", ""},
		{"no name", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := PersonName(tt.full, tt.short, "marie@example.org"); got != tt.want {
				t.Errorf("PersonName(%q, %q) = %q, want %q", tt.full, tt.short, got, tt.want)
			}
		})
	}
}

func FuzzDisplayName(f *testing.F) {
	for _, seed := range []string{"", "Marie", "\u202eMarie\x00", "a \u200d b", "Jose\u0301", "\xff\xfe", "👩\u200d👧", "\u1100\u1161\u11a8", "a" + strings.Repeat("\u0301", 40), strings.Repeat("\u0344\u0323", 20)} {
		f.Add(seed, 100)
	}
	f.Fuzz(func(t *testing.T, in string, limit int) {
		limit = 1 + int(uint(limit)%200)
		got := Clean(in, limit)
		switch {
		case !utf8.ValidString(got):
			t.Errorf("Clean(%q) = %q: not UTF-8", in, got)
		case utf8.RuneCountInString(got) > limit:
			t.Errorf("Clean(%q) = %q: over %d characters", in, got, limit)
		case got != strings.TrimSpace(got), strings.Contains(got, "  "):
			t.Errorf("Clean(%q) = %q: superfluous space", in, got)
		case Clean(got, limit) != got:
			t.Errorf("Clean(%q) = %q, and again %q", in, got, Clean(got, limit))
		case utf8.RuneCountInString(Key(got)) > utf8.RuneCountInString(got):
			t.Errorf("Key(%q) is longer", got)
		}
		for _, r := range got {
			if unicode.Is(unicode.Bidi_Control, r) || unicode.IsControl(r) {
				t.Errorf("Clean(%q) = %q: holds %U", in, got, r)
			}
		}
	})
}
