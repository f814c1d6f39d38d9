package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"github.com/usher-meet/usher/server/fault"
)

// Sessions are the sign-ins of browsers, in Redis. Every field is required.
//
// The token is 256 random bits that only the browser knows; Redis holds its SHA-256. All times are Redis'. Without Redis
// nobody who signed in is served (fault.ErrRedis), and if its data are lost everybody is signed out.
type Sessions struct {
	Redis rueidis.Client
	// IdleTimeout ends a session that long after its last use.
	IdleTimeout time.Duration
	// MaxAge ends a session that long after signing in, however much it is used.
	MaxAge time.Duration
}

// Session is a sign-in of one browser, identified by its cookie.
type Session struct {
	UserID uuid.UUID
	// CreateTime is when the user signed in.
	CreateTime time.Time
	// IDToken is the OpenID provider's, which it wants to see again when the user signs out. Only [Sessions.End] sets it.
	IDToken string
}

// redisTimeout bounds each use of Redis. All of them can be done twice, and are tried again until then: after Redis was
// restarted, the first call on each connection fails.
const redisTimeout = time.Second

// sessionKey is the key of one session, and userSessionsKey that of a user's sessions: a sorted set of the hashes by the
// time at which they end at the latest. A script touches one of them only, so they may be on two nodes of a cluster.
func sessionKey(hash string) string { return "usher:1:session:{" + hash + "}" }

func userSessionsKey(userID uuid.UUID) string { return "usher:1:sessions:{" + userID.String() + "}" }

func hashSession(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// createSession takes the user, the id_token and the idle time out in milliseconds. It returns Redis' time. Should Redis
// refuse to end keys, it does so before anything is written: PEXPIRE comes twice.
var createSession = rueidis.NewLuaScriptRetryable(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('DEL', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('HSET', KEYS[1], 'user', ARGV[1], 'id_token', ARGV[2], 'created', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return now
`)

// indexSession takes the hash, Redis' time, and the greatest age in milliseconds. It begins as createSession does.
var indexSession = rueidis.NewLuaScriptRetryable(`
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[2] + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
`)

// lookUpSession takes the idle time out and the greatest age in milliseconds, and makes the session live on. It returns the
// user and the time of creation, or nothing. What is not a session of ours is dropped.
var lookUpSession = rueidis.NewLuaScriptRetryable(`
local v = redis.pcall('HMGET', KEYS[1], 'user', 'created')
if v.err or not v[1] or not tonumber(v[2]) then
  redis.call('DEL', KEYS[1])
  return false
end
local t = redis.call('TIME')
local left = tonumber(v[2]) + ARGV[2] - (t[1] * 1000 + math.floor(t[2] / 1000))
if left <= 0 then
  redis.call('DEL', KEYS[1])
  return false
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.min(left, tonumber(ARGV[1]))))
return v
`)

// peekSession returns the user and the time of creation, or nothing. The key ends when the session does.
var peekSession = rueidis.NewLuaScriptRetryable(`
local v = redis.pcall('HMGET', KEYS[1], 'user', 'created')
if v.err or not v[1] or not tonumber(v[2]) then return false end
return v
`)

// endSession returns the user, the time of creation and the id_token, or nothing.
var endSession = rueidis.NewLuaScriptRetryable(`
local v = redis.pcall('HMGET', KEYS[1], 'user', 'created', 'id_token')
redis.call('DEL', KEYS[1])
if v.err or not v[1] then return false end
return v
`)

// Create makes a session and returns its token. It fails with fault.ErrRedis.
//
// The session is indexed only after it exists, so that one that [Sessions.EndAll] cannot see is one that nobody holds yet.
func (s *Sessions) Create(ctx context.Context, userID uuid.UUID, idToken string) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	token := base64.RawURLEncoding.EncodeToString(random[:])
	hash := hashSession(token)
	now, err := createSession.Exec(bounded, s.Redis, []string{sessionKey(hash)},
		[]string{userID.String(), idToken, milliseconds(min(s.IdleTimeout, s.MaxAge))}).AsInt64()
	if err != nil {
		return "", redisError(ctx, err)
	}
	err = indexSession.Exec(bounded, s.Redis, []string{userSessionsKey(userID)},
		[]string{hash, strconv.FormatInt(now, 10), milliseconds(s.MaxAge)}).Error()
	if err != nil {
		// Nobody holds the token, and nobody could end the session. Should this fail too, it ends when it has been idle.
		_ = s.Redis.Do(bounded, s.Redis.B().Del().Key(sessionKey(hash)).Build().ToRetryable()).Error()
		return "", redisError(ctx, err)
	}
	return token, nil
}

// Lookup returns the session of a token, which counts as a use of it. It fails with [ErrSessionEnded] or fault.ErrRedis.
func (s *Sessions) Lookup(ctx context.Context, token string) (*Session, error) {
	bounded, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	return readSession(ctx, lookUpSession.Exec(bounded, s.Redis, []string{sessionKey(hashSession(token))},
		[]string{milliseconds(s.IdleTimeout), milliseconds(s.MaxAge)}))
}

// Peek is [Sessions.Lookup] without counting as a use.
func (s *Sessions) Peek(ctx context.Context, token string) (*Session, error) {
	bounded, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	return readSession(ctx, peekSession.Exec(bounded, s.Redis, []string{sessionKey(hashSession(token))}, nil))
}

// End ends one session and returns what it was. It fails with [ErrSessionEnded] when there was none, or with
// fault.ErrRedis.
func (s *Sessions) End(ctx context.Context, token string) (*Session, error) {
	bounded, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	hash := hashSession(token)
	ended, err := readSession(ctx, endSession.Exec(bounded, s.Redis, []string{sessionKey(hash)}, nil))
	if err != nil {
		return nil, err
	}
	remove := s.Redis.B().Zrem().Key(userSessionsKey(ended.UserID)).Member(hash).Build().ToRetryable()
	if err := s.Redis.Do(bounded, remove).Error(); err != nil {
		return nil, redisError(ctx, err)
	}
	return ended, nil
}

// EndAll ends all sessions of a user. It fails with fault.ErrRedis, and may then be repeated.
func (s *Sessions) EndAll(ctx context.Context, userID uuid.UUID) error {
	bounded, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	hashes, err := s.hashes(ctx, bounded, userID)
	if err != nil || len(hashes) == 0 {
		return err
	}
	end := make(rueidis.Commands, 0, len(hashes))
	for _, hash := range hashes {
		end = append(end, s.Redis.B().Del().Key(sessionKey(hash)).Build().ToRetryable())
	}
	for _, result := range s.Redis.DoMulti(bounded, end...) {
		if err := result.Error(); err != nil {
			return redisError(ctx, err)
		}
	}
	// Last, so that what failed above is found again.
	remove := s.Redis.B().Zrem().Key(userSessionsKey(userID)).Member(hashes...).Build().ToRetryable()
	if err := s.Redis.Do(bounded, remove).Error(); err != nil {
		return redisError(ctx, err)
	}
	return nil
}

// List returns when the sessions of a user were created that have not ended, oldest first.
func (s *Sessions) List(ctx context.Context, userID uuid.UUID) ([]time.Time, error) {
	bounded, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	hashes, err := s.hashes(ctx, bounded, userID)
	if err != nil {
		return nil, err
	}
	times := make([]time.Time, 0, len(hashes))
	for _, hash := range hashes {
		created, err := s.Redis.Do(bounded, s.Redis.B().Hget().Key(sessionKey(hash)).Field("created").Build()).AsInt64()
		switch {
		case rueidis.IsRedisNil(err):
			continue
		case err != nil:
			return nil, redisError(ctx, err)
		}
		times = append(times, time.UnixMilli(created).UTC())
	}
	return times, nil
}

// hashes are the sessions of a user that were not ended, idle ones too.
func (s *Sessions) hashes(ctx, bounded context.Context, userID uuid.UUID) ([]string, error) {
	key := userSessionsKey(userID)
	hashes, err := s.Redis.Do(bounded, s.Redis.B().Zrange().Key(key).Min("0").Max("-1").Build()).AsStrSlice()
	if err != nil {
		return nil, redisError(ctx, err)
	}
	return hashes, nil
}

func readSession(ctx context.Context, result rueidis.RedisResult) (*Session, error) {
	values, err := result.AsStrSlice()
	if rueidis.IsRedisNil(err) {
		return nil, ErrSessionEnded
	}
	if err != nil {
		return nil, redisError(ctx, err)
	}
	if len(values) < 2 {
		return nil, ErrSessionEnded
	}
	id, err := uuid.Parse(values[0])
	if err != nil {
		return nil, ErrSessionEnded.Because(fmt.Errorf("read session: %w", err))
	}
	created, err := strconv.ParseInt(values[1], 10, 64)
	if err != nil {
		return nil, ErrSessionEnded.Because(fmt.Errorf("read session: %w", err))
	}
	session := &Session{UserID: id, CreateTime: time.UnixMilli(created).UTC()}
	if len(values) > 2 {
		session.IDToken = values[2]
	}
	return session, nil
}

// redisError is a failure of Redis, unless the caller gave up, which says nothing about Redis.
func redisError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("sessions: %w", ctx.Err())
	}
	return fault.ErrRedis.Because(err)
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// CookieName is the name of the cookie that carries a session's token. secure is whether people reach this server by https;
// the prefix then makes browsers refuse one that was set by a sub-domain or without encryption (RFC 6265bis, section
// 4.1.3.2).
func CookieName(secure bool) string { return PrefixedCookieName("usher_session", secure) }

// PrefixedCookieName is the name of a cookie with the prefix that binds it to this host, where cookies are secure (RFC
// 6265bis).
func PrefixedCookieName(name string, secure bool) string {
	if secure {
		return "__Host-" + name
	}
	return name
}

// RemovedCookieAge is the age of a cookie that is to be removed.
const RemovedCookieAge = -time.Second

// NewCookie makes a cookie of ours: for this host only, hidden from scripts, and not sent by other sites except when
// somebody follows a link.
func NewCookie(name, value string, age time.Duration, secure bool) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure on https; without it the cookie would not be kept on http
		Name: PrefixedCookieName(name, secure), Value: value, Path: "/", MaxAge: int(age.Seconds()),
		Secure: secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// Cookie makes the cookie that carries a session's token. secure is whether people reach this server by https.
func (s *Sessions) Cookie(token string, secure bool) *http.Cookie {
	return NewCookie("usher_session", token, s.MaxAge, secure)
}

// EndCookie makes the cookie that removes the one of [Sessions.Cookie].
func EndCookie(secure bool) *http.Cookie {
	return NewCookie("usher_session", "", RemovedCookieAge, secure)
}

// SessionToken is the token in the session cookie of a request, if there is one.
func SessionToken(r *http.Request, secure bool) (string, bool) {
	c, err := r.Cookie(CookieName(secure))
	if err != nil || strings.TrimSpace(c.Value) == "" {
		return "", false
	}
	return c.Value, true
}
