package rooms

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"github.com/google/go-cmp/cmp"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/api/page"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/dbtx"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/internal/testenv"
)

// listAll follows the page tokens and returns the names.
func listAll(t *testing.T, s *Service, u *ent.User, req *usherv1.ListRoomsRequest) (names []string, pages int) {
	t.Helper()
	req.PageToken = ""
	for {
		res, err := s.ListRooms(as(t, u), req)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, r := range res.GetRooms() {
			names = append(names, r.GetName())
		}
		if req.PageToken = res.GetNextPageToken(); req.GetPageToken() == "" {
			return names, pages
		}
	}
}

func TestListRooms_filters(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		mustRoom(t, s, alice, &usherv1.CreateRoomRequest{Name: "beta 100%"})
		mustRoom(t, s, alice, &usherv1.CreateRoomRequest{Name: "Alpha_1"})
		mustRoom(t, s, alice, &usherv1.CreateRoomRequest{Name: "ÉTÉ"})
		mustRoom(t, s, bob, &usherv1.CreateRoomRequest{Name: "not mine", AccessLevel: public})
		mustMember(t, s, mustRoom(t, s, bob, &usherv1.CreateRoomRequest{Name: "Alpha 2"}), alice, plainMember)
		pending := mustRoom(t, s, bob, &usherv1.CreateRoomRequest{Name: "gamma \\o/"})
		mustPending(t, s, pending, "alice@example.org", administrator)
		both := mustRoom(t, s, bob, &usherv1.CreateRoomRequest{Name: "delta"})
		mustPending(t, s, both, "alice@example.org", administrator)
		mustMember(t, s, both, alice, plainMember)
		tests := []struct {
			name  string
			query string
			role  usherv1.Role
			want  []string
		}{
			{"all", "", 0, []string{"Alpha 2", "Alpha_1", "beta 100%", "delta", "gamma \\o/", "ÉTÉ"}},
			{"in any case", "ALPHA", 0, []string{"Alpha 2", "Alpha_1"}},
			{"in any case beyond ASCII", "été", 0, []string{"ÉTÉ"}},
			{"in the middle", "lph", 0, []string{"Alpha 2", "Alpha_1"}},
			{"a percent sign", "%", 0, []string{"beta 100%"}},
			{"an underscore", "a_1", 0, []string{"Alpha_1"}},
			{"a backslash", "\\", 0, []string{"gamma \\o/"}},
			{"control characters", "\x00alpha\u202e 2", 0, []string{"Alpha 2"}},
			{"nothing", "omega", 0, nil},
			{"owner", "", owner, []string{"Alpha_1", "beta 100%", "ÉTÉ"}},
			{"administrator, the higher of two roles", "", administrator, []string{"delta", "gamma \\o/"}},
			{"member", "", plainMember, []string{"Alpha 2"}},
			{"both filters", "a", plainMember, []string{"Alpha 2"}},
		}
		for _, tt := range tests {
			got, _ := listAll(t, s, alice, &usherv1.ListRoomsRequest{Query: tt.query, Role: tt.role})
			slices.Sort(got) // databases sort names in the order that they were set up with
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s: -want +got\n%s", tt.name, diff)
			}
		}
		res, err := s.ListRooms(as(t, alice), &usherv1.ListRoomsRequest{Query: "delta"})
		if err != nil || res.GetRooms()[0].GetMyRole() != administrator || res.GetRooms()[0].GetLive() == nil {
			t.Errorf("%v, %v", res, err)
		}
		unverified := *alice
		unverified.EmailVerified = false
		if got, _ := listAll(t, s, &unverified, &usherv1.ListRoomsRequest{Query: "gamma"}); len(got) != 0 {
			t.Errorf("an address that is not verified lists %q", got)
		}
		_, err = s.ListRooms(as(t, nil), &usherv1.ListRoomsRequest{})
		wantFault(t, err, auth.ErrSignInRequired)
	})
}

func TestListRooms_pages(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice, bob := mustUser(t, db, "Alice"), mustUser(t, db, "Bob")
		var want []string
		for i := range 7 {
			for _, name := range []string{"same", fmt.Sprintf("room %d", i), strings.Repeat("漢", 499) + fmt.Sprint(i)} {
				want = append(want, mustRoom(t, s, alice, &usherv1.CreateRoomRequest{Name: name}).GetName())
			}
		}
		slices.Sort(want)
		for size, pages := range map[int32]int{1: 21, 2: 11, 7: 3, 20: 2, 21: 1, 0: 2, 1000: 1} {
			got, n := listAll(t, s, alice, &usherv1.ListRoomsRequest{PageSize: size})
			if diff := cmp.Diff(want, got); diff != "" || n != pages {
				t.Errorf("size %d: %d pages, want %d; -want +got\n%s", size, n, pages, diff)
			}
		}

		first, err := s.ListRooms(as(t, alice), &usherv1.ListRoomsRequest{PageSize: 5})
		if err != nil {
			t.Fatal(err)
		}
		mustRoom(t, s, alice, &usherv1.CreateRoomRequest{Name: "a new one before"})
		second, err := s.ListRooms(as(t, alice), &usherv1.ListRoomsRequest{PageSize: 5, PageToken: first.GetNextPageToken()})
		if err != nil {
			t.Fatal(err)
		}
		if got := second.GetRooms()[0].GetName(); got != want[5] {
			t.Errorf("after an insertion the second page begins with %q, want %q", got, want[5])
		}

		token := first.GetNextPageToken()
		for name, call := range map[string]func() error{
			"another caller": func() error {
				_, err := s.ListRooms(as(t, bob), &usherv1.ListRoomsRequest{PageToken: token})
				return err
			},
			"another query": func() error {
				_, err := s.ListRooms(as(t, alice), &usherv1.ListRoomsRequest{PageToken: token, Query: "room"})
				return err
			},
			"another role": func() error {
				_, err := s.ListRooms(as(t, alice), &usherv1.ListRoomsRequest{PageToken: token, Role: owner})
				return err
			},
			"another method": func() error {
				_, err := s.ListMembers(as(t, alice), &usherv1.ListMembersRequest{PageToken: token, Room: first.GetRooms()[0].GetId()})
				return err
			},
			"made up": func() error {
				_, err := s.ListRooms(as(t, alice), &usherv1.ListRoomsRequest{PageToken: "test"})
				return err
			},
		} {
			t.Log(name)
			wantFault(t, call(), page.ErrTokenInvalid)
		}
		_, err = s.ListRooms(as(t, alice), &usherv1.ListRoomsRequest{PageSize: -1})
		wantFault(t, err, fault.ErrInvalid)
	})
}

// TestListRoomsQueryCount: the number of statements does not grow with the page.
func TestListRoomsQueryCount(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		alice := mustUser(t, db, "Alice")
		for range 30 {
			mustRoom(t, s, alice, &usherv1.CreateRoomRequest{})
		}
		c, statements := counted(db)
		s.DB = c.DB
		for _, size := range []int32{1, 10, 30} {
			res, err := s.ListRooms(as(t, alice), &usherv1.ListRoomsRequest{PageSize: size, Query: "-", Role: owner})
			if err != nil || len(res.GetRooms()) != int(size) {
				t.Fatalf("%d rooms, %v", len(res.GetRooms()), err)
			}
			if n := statements(); n != 1 {
				t.Errorf("a page of %d took %d statements, want 1", size, n)
			}
		}
	})
}

// TestListRooms_longNames: the token after a name of the greatest length is one that a request may carry, however many
// bytes its characters take.
func TestListRooms_longNames(t *testing.T) {
	t.Parallel()
	testenv.Databases(t, func(t *testing.T, db *dbtx.DB) {
		s, _ := newService(t, db)
		for who, character := range map[string]string{"Alice": "🙂", "Bob": "<", "Carol": "\\", "Dave": "Ⱥ"} {
			u := mustUser(t, db, who)
			for i := range 3 {
				mustRoom(t, s, u, &usherv1.CreateRoomRequest{Name: strings.Repeat(character, 499) + fmt.Sprint(i)})
			}
			req := &usherv1.ListRoomsRequest{PageSize: 1}
			for i := range 3 {
				if err := protovalidate.Validate(req); err != nil {
					t.Errorf("%s: a token of %d characters: %v", character, len(req.GetPageToken()), err)
				}
				res, err := s.ListRooms(as(t, u), req)
				if err != nil || !strings.HasSuffix(res.GetRooms()[0].GetName(), fmt.Sprint(i)) {
					t.Fatalf("%s, page %d: %v, %v", character, i, res, err)
				}
				req.PageToken = res.GetNextPageToken()
			}
		}
	})
}
