package lobby

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
	"github.com/usher-meet/usher/server/lease"
)

// Rules are how long entries live and how many there may be. Every field is required.
type Rules struct {
	// Waiting is how long an entry waits without a sign of life, and Grace how long it is still found after that.
	Waiting, Grace time.Duration
	// Accepted is how long an admission holds. Denied is how long the first denial does; each further one doubles it.
	Accepted, Denied time.Duration
	// KeepPlace is how long after they asked first somebody whose entry was lost gets their place back.
	KeepPlace time.Duration
	// Most is how many may wait in one room.
	Most int
}

const (
	// deniedMost is the longest that doubling makes a denial, and for how long after a denial it is counted.
	deniedMost = 24 * time.Hour
	// endedLife is for how long an entry that was ended is remembered, so that its streams are told.
	endedLife = 2 * time.Minute
	// storeTimeout bounds the wait for Redis: it answers within milliseconds, or something is wrong.
	storeTimeout = 2 * time.Second
	// keyPrefix and newsSuffix are around the hash tag of each room.
	keyPrefix, newsSuffix = "usher:1:lobby:{", "}:news"
)

// Store keeps entries in Redis: see scripts.go. It fails with fault.ErrRedis when Redis does not answer. Values that it
// cannot read are dropped. Every field is required.
type Store struct {
	Redis rueidis.Client
	Rules Rules
}

// record is an entry as it is kept.
type record struct {
	ID       string `json:"id"`
	Status   int    `json:"status"`
	Name     string `json:"name"`
	Ticket   string `json:"ticket"` // hash
	Identity string `json:"identity"`
	User     string `json:"user"` // id, or empty
	Etag     string `json:"etag"`
	Asked    string `json:"asked"`
	// Decided is when, or why the entry was ended.
	Decided string `json:"decided"`
	Meeting string `json:"meeting"`

	// Of phone calls only: LiveKit's id of the call, whether the number is withheld, and whether the hold was lifted.
	Kind     int    `json:"kind,omitempty"`
	Call     string `json:"call,omitempty"`
	Withheld bool   `json:"withheld,omitempty"`
	Lifted   bool   `json:"lifted,omitempty"`

	ends     time.Time
	position int
}

func (r *record) userID() uuid.UUID {
	id, _ := uuid.Parse(r.User) // uuid.Nil for people without an account
	return id
}

// outcome is the answer of a script about one entry.
type outcome struct {
	word  string
	entry *record
	// now is Redis' time.
	now time.Time
}

// arguments are those of a script; which of them count differs.
type arguments struct {
	Grace      int64  `json:"grace"`
	Waiting    int64  `json:"waiting"`
	Accepted   int64  `json:"accepted"`
	Denied     int64  `json:"denied"`
	DeniedMost int64  `json:"deniedMost"`
	KeepPlace  int64  `json:"keepPlace"`
	Ended      int64  `json:"ended"`
	TicketLife int64  `json:"ticketLife"`
	Most       int    `json:"most"`
	Channel    string `json:"channel"`

	ID          string      `json:"id"`
	Seen        []seenEntry `json:"seen,omitempty"`
	Ticket      string      `json:"ticket"`
	Name        string      `json:"name"`
	Identity    string      `json:"identity"`
	User        string      `json:"user"`
	Etag        string      `json:"etag"`
	Asked       string      `json:"asked"`
	Meeting     string      `json:"meeting"`
	SameMeeting bool        `json:"sameMeeting"`
	Touch       bool        `json:"touch"`
	Allow       bool        `json:"allow"`
	Block       int64       `json:"block"`
	Why         string      `json:"why,omitempty"`
	Decided     string      `json:"decided,omitempty"`

	// Of the scripts about phone calls: see callscripts.go.
	Calls    []callArguments `json:"calls,omitempty"`
	Complete bool            `json:"complete,omitempty"`
	Unseen   int64           `json:"unseen,omitempty"`
	// Before is the number of a meeting; 0 for any.
	Before int64 `json:"before"`
}

// refresh is a sign of life of t's guest, and makes the entry if it is not there. isNew is a ticket that was just made. An
// empty name leaves the one of before.
func (s *Store) refresh(ctx context.Context, t *auth.LobbyTicket, name string, meeting int64, isNew bool) (outcome, error) {
	a := arguments{
		ID: t.EntryID.String(), Ticket: t.Hash(), Name: name, Identity: t.Identity, User: userText(t.UserID), Etag: newEtag(),
		Meeting: strconv.FormatInt(meeting, 10), SameMeeting: t.Meeting == meeting,
	}
	if !isNew {
		a.Asked = strconv.FormatInt(t.RequestTime.UnixMicro(), 10)
	}
	return s.runOne(ctx, refreshScript, t.RoomID, a)
}

// touch is a sign of life of an entry that is there.
func (s *Store) touch(ctx context.Context, t *auth.LobbyTicket, meeting int64) (outcome, error) {
	return s.runOne(ctx, refreshScript, t.RoomID, arguments{
		ID: t.EntryID.String(), Ticket: t.Hash(), Identity: t.Identity, Touch: true, Meeting: strconv.FormatInt(meeting, 10),
	})
}

// admit lets the guest in without a host: they may enter directly now.
func (s *Store) admit(ctx context.Context, t *auth.LobbyTicket, user uuid.UUID, meeting int64) (outcome, error) {
	return s.runOne(ctx, admitScript, t.RoomID, arguments{
		ID: t.EntryID.String(), Ticket: t.Hash(), Identity: t.Identity, User: userText(user),
		Meeting: strconv.FormatInt(meeting, 10),
	})
}

// Why an entry was ended.
const (
	whyCancelled = "cancelled"
	whyCleared   = "cleared"
)

// finish ends an entry; with decided, only if it is still that decision.
func (s *Store) finish(ctx context.Context, t *auth.LobbyTicket, why, decided string) (outcome, error) {
	a := arguments{ID: t.EntryID.String(), Ticket: t.Hash(), Why: why, Decided: decided}
	return s.runOne(ctx, finishScript, t.RoomID, a)
}

func (s *Store) decide(
	ctx context.Context, room uuid.UUID, id, etag string, allow bool, block time.Duration, meeting int64,
) (outcome, error) {
	return s.runOne(ctx, decideScript, room, arguments{
		ID: id, Etag: etag, Allow: allow, Block: block.Milliseconds(), Meeting: strconv.FormatInt(meeting, 10),
	})
}

// seenEntry is an entry as somebody saw it who decides. Without an etag the decision is about whatever it is by now.
type seenEntry struct {
	ID   string `json:"id"`
	Etag string `json:"etag"`
}

// decideAll returns the entries about which the decision stands, in the order in which they were seen.
func (s *Store) decideAll(
	ctx context.Context, room uuid.UUID, seen []seenEntry, allow bool, meeting int64,
) ([]*record, error) {
	a := arguments{Seen: seen, Allow: allow, Meeting: strconv.FormatInt(meeting, 10)}
	result, err := s.runScript(ctx, decideAllScript, room, a)
	if err != nil {
		return nil, err
	}
	values, err := result.AsStrSlice()
	if err != nil {
		return nil, fmt.Errorf("lobby script: %w", err)
	}
	stands := make([]*record, len(values))
	for i, raw := range values {
		if stands[i], err = readRecord(raw, "", 0); err != nil {
			return nil, err
		}
	}
	return stands, nil
}

// clear ends all entries of a room, or those of the meetings before one.
func (s *Store) clear(ctx context.Context, room uuid.UUID, before int64) error {
	_, err := s.runScript(ctx, clearScript, room, arguments{Before: before})
	return err
}

// remove voids the tickets of an identity, and those of an account unless that is uuid.Nil.
func (s *Store) remove(ctx context.Context, room uuid.UUID, identity string, user uuid.UUID) error {
	_, err := s.runScript(ctx, removeScript, room, arguments{Identity: identity, User: userText(user)})
	return err
}

// list returns everybody who waits, oldest first, and Redis' time.
func (s *Store) list(ctx context.Context, room uuid.UUID) ([]*record, time.Time, error) {
	result, err := s.runScript(ctx, listScript, room, arguments{})
	if err != nil {
		return nil, time.Time{}, err
	}
	values, err := result.AsStrSlice()
	if err != nil || len(values)%3 != 1 {
		return nil, time.Time{}, fmt.Errorf("lobby script: %d values: %w", len(values), err)
	}
	now := microseconds(values[0])
	waiting := make([]*record, 0, len(values)/3)
	for i := 1; i < len(values); i += 3 {
		r, err := readRecord(values[i+1], values[i+2], len(waiting)+1)
		if err != nil || r.Status != statusWaiting || r.Etag == "" || r.Ticket == "" || r.Identity == "" {
			continue // corrupt: it lapses, or the next script that looks into it drops it
		}
		r.ID = values[i]
		waiting = append(waiting, r)
	}
	return waiting, now, nil
}

// takeNotice reports whether the meeting may be told now, and if not, when to try again. It says yes once a second and room.
func (s *Store) takeNotice(ctx context.Context, room uuid.UUID) (ok bool, again time.Duration, err error) {
	return lease.Redis{Client: s.Redis}.Take(ctx, room, "notice", noticeGap)
}

// subscribe tells of changes in all rooms until ctx is done or Redis is gone: one connection for the whole process.
// subscribed is called when it has begun.
func (s *Store) subscribe(ctx context.Context, subscribed func(), news func(room uuid.UUID, what string)) error {
	ctx = rueidis.WithOnSubscriptionHook(ctx, func(rueidis.PubSubSubscription) { subscribed() })
	channels := s.Redis.B().Psubscribe().Pattern(keyPrefix + "*" + newsSuffix).Build()
	return s.Redis.Receive(ctx, channels, func(m rueidis.PubSubMessage) {
		name := strings.TrimSuffix(strings.TrimPrefix(m.Channel, keyPrefix), newsSuffix)
		if room, err := uuid.Parse(name); err == nil {
			news(room, m.Message)
		}
	})
}

// runOne runs a script about one entry.
func (s *Store) runOne(ctx context.Context, sc script, room uuid.UUID, a arguments) (outcome, error) {
	result, err := s.runScript(ctx, sc, room, a)
	if err != nil {
		return outcome{}, err
	}
	values, err := result.ToArray()
	if err != nil || len(values) != 5 {
		return outcome{}, fmt.Errorf("lobby script: %d values: %w", len(values), err)
	}
	var out outcome
	word, err := values[0].ToString()
	if err != nil {
		return out, fmt.Errorf("lobby script: %w", err)
	}
	raw, _ := values[1].ToString()     // text in every answer
	ends, _ := values[2].ToString()    // text in every answer
	position, _ := values[3].AsInt64() // a number in every answer
	now, _ := values[4].ToString()     // text in every answer
	out.word, out.now = word, microseconds(now)
	if raw != "" {
		out.entry, err = readRecord(raw, ends, int(position))
	}
	return out, err
}

func readRecord(raw, ends string, position int) (*record, error) {
	r := &record{ends: microseconds(ends), position: position}
	if err := json.Unmarshal([]byte(raw), r); err != nil {
		return nil, fmt.Errorf("read entry: %w", err)
	}
	return r, nil
}

// runScript runs a script on the keys of one room.
func (s *Store) runScript(ctx context.Context, sc script, room uuid.UUID, a arguments) (rueidis.RedisResult, error) {
	tag := keyPrefix + room.String() + "}"
	r := s.Rules
	a.Grace, a.Waiting, a.Accepted = r.Grace.Milliseconds(), r.Waiting.Milliseconds(), r.Accepted.Milliseconds()
	a.Denied, a.DeniedMost, a.KeepPlace = r.Denied.Milliseconds(), deniedMost.Milliseconds(), r.KeepPlace.Milliseconds()
	a.Ended, a.Most, a.Channel = endedLife.Milliseconds(), s.Rules.Most, tag+":news"
	a.TicketLife = ticketLife.Milliseconds()
	text, err := json.Marshal(a)
	if err != nil {
		return rueidis.RedisResult{}, fmt.Errorf("encode arguments: %w", err)
	}
	keys := []string{tag + ":entries", tag + ":waiting", tag + ":expire", tag + ":denials"}
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	result := s.Redis.Do(bounded, s.Redis.B().Evalsha().Sha1(sc.sha).Numkeys(4).Key(keys...).Arg(string(text)).Build())
	if refused, ok := rueidis.IsRedisErr(result.Error()); ok && refused.IsNoScript() {
		result = s.Redis.Do(bounded, s.Redis.B().Eval().Script(sc.text).Numkeys(4).Key(keys...).Arg(string(text)).Build())
	}
	switch err := result.Error(); {
	case err == nil:
		return result, nil
	case ctx.Err() != nil:
		// The caller gave up, which says nothing about Redis.
		return result, fmt.Errorf("lobby: %w", ctx.Err())
	default:
		return result, fault.ErrRedis.Because(err)
	}
}

// errSubscription is a subscription that ended without an error.
var errSubscription = errors.New("the subscription ended")

func userText(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}

// newEtag names one version of one entry.
func newEtag() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// microseconds reads a time of a script; the zero time for what is none.
func microseconds(text string) time.Time {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}
