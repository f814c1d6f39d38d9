package page

import (
	"errors"
	"strings"
	"testing"

	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
)

type cursor struct {
	Name string `json:"n"`
	ID   int    `json:"i"`
}

func newList() List {
	return List{
		Keys:   auth.NewKeys([]byte("test-secret-of-32-characters-or-more"), nil),
		Caller: "user:1", Method: "ListRooms", Filter: []string{"weekly", "3"},
	}
}

func TestToken_roundTrip(t *testing.T) {
	t.Parallel()
	want := cursor{Name: "réunion \x00", ID: 7}
	token, err := newList().Token(want)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(token, "union") {
		t.Errorf("the token %q shows its cursor", token)
	}
	var got cursor
	if err := newList().Cursor(token, &got); err != nil || got != want {
		t.Errorf("Cursor = %+v, %v; want %+v", got, err, want)
	}
}

func TestCursor_refuses(t *testing.T) {
	t.Parallel()
	token, err := newList().Token(cursor{Name: "a", ID: 1})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		token  string
		change func(*List)
	}{
		{"another caller", token, func(l *List) { l.Caller = "user:2" }},
		{"another method", token, func(l *List) { l.Method = "ListMembers" }},
		{"another filter", token, func(l *List) { l.Filter = []string{"weekly", "2"} }},
		{"the same filter split elsewhere", token, func(l *List) { l.Filter = []string{"weekly3", ""} }},
		{"another secret", token, func(l *List) { l.Keys = auth.NewKeys([]byte("test-another-secret-of-32-characters"), nil) }},
		{"cut", token[:len(token)-4], nil},
		{"longer", token + "AAAA", nil},
		{"changed", strings.Map(rot, token), nil},
		{"too short", "AAAA", nil},
		{"not base64", "?" + token[1:], nil},
		{"padding bits set", token[:len(token)-1] + "_", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newList()
			if tt.change != nil {
				tt.change(&l)
			}
			var got cursor
			if err := l.Cursor(tt.token, &got); !errors.Is(err, ErrTokenInvalid) || got != (cursor{}) {
				t.Errorf("Cursor = %+v, %v; want %v", got, err, ErrTokenInvalid)
			}
		})
	}
}

func rot(r rune) rune {
	if r >= 'a' && r < 'z' {
		return r + 1
	}
	return r
}

func TestCursor_previousSecret(t *testing.T) {
	t.Parallel()
	token, err := newList().Token(cursor{ID: 1})
	if err != nil {
		t.Fatal(err)
	}
	l := newList()
	l.Keys = auth.NewKeys([]byte("test-new-secret-of-32-characters-too"), []byte("test-secret-of-32-characters-or-more"))
	var got cursor
	if err := l.Cursor(token, &got); err != nil || got.ID != 1 {
		t.Errorf("Cursor = %+v, %v", got, err)
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for in, want := range map[int32]int{0: 20, 1: 1, 100: 100, 101: 100, 1 << 30: 100} {
		if got, err := Size(in); err != nil || got != want {
			t.Errorf("Size(%d) = %d, %v; want %d", in, got, err, want)
		}
	}
	if got, err := Size(-1); !errors.Is(err, fault.ErrInvalid) {
		t.Errorf("Size(-1) = %d, %v; want a refusal", got, err)
	}
}

func FuzzPageToken(f *testing.F) {
	good, err := newList().Token(cursor{Name: "a", ID: 1})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "AAAA", good, good[1:], good + "=", "\x00", strings.Repeat("A", 2000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		var got cursor
		err := newList().Cursor(token, &got)
		if err == nil && got != (cursor{Name: "a", ID: 1}) {
			t.Errorf("Cursor(%q) = %+v: a cursor that was not sealed here", token, got)
		}
		if err != nil && !errors.Is(err, ErrTokenInvalid) {
			t.Errorf("Cursor(%q): %v", token, err)
		}
	})
}
