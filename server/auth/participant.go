package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
)

// ParticipantSession is the content of a session_token: the identity of a participant in one room. The token is signed and
// not stored.
type ParticipantSession struct {
	RoomID   uuid.UUID
	Identity string
	// UserID is uuid.Nil for people without an account.
	UserID uuid.UUID
	// DisplayName is the name they came in with.
	DisplayName string
	// Meeting is the number of the room's meeting in which they joined.
	Meeting int64
	// Invited is true of somebody whom a personal invitation let in.
	Invited bool
	// JoinTime is when the connection was made, to the second.
	JoinTime time.Time
	// ExpireTime is never moved.
	ExpireTime time.Time
}

type participantClaims struct {
	jwt.RegisteredClaims
	Identity    string `json:"identity"`
	DisplayName string `json:"name"`
	Meeting     int64  `json:"meeting"`
	Invited     bool   `json:"invited,omitempty"`
}

// SignSession makes the session_token of s.
func (k *Keys) SignSession(s ParticipantSession) (string, error) {
	c := participantClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Audience:  jwt.ClaimStrings{s.RoomID.String()},
			IssuedAt:  jwt.NewNumericDate(s.JoinTime),
			ExpiresAt: jwt.NewNumericDate(s.ExpireTime),
		},
		Identity: s.Identity, DisplayName: s.DisplayName, Meeting: s.Meeting, Invited: s.Invited,
	}
	if s.UserID != uuid.Nil {
		c.Subject = s.UserID.String()
	}
	return k.Sign(PurposeParticipantSession, c)
}

// VerifySession reads a session_token. It fails with [ErrTokenExpired] or [ErrUnauthenticated].
func (k *Keys) VerifySession(token string) (*ParticipantSession, error) {
	var c participantClaims
	if err := k.Verify(PurposeParticipantSession, token, &c); err != nil {
		return nil, err
	}
	s := &ParticipantSession{
		Identity: c.Identity, DisplayName: c.DisplayName, Meeting: c.Meeting, Invited: c.Invited, ExpireTime: c.ExpiresAt.Time,
	}
	if c.IssuedAt != nil {
		s.JoinTime = c.IssuedAt.Time
	}
	var err error
	if len(c.Audience) != 1 {
		return nil, ErrUnauthenticated
	}
	if s.RoomID, err = uuid.Parse(c.Audience[0]); err != nil {
		return nil, ErrUnauthenticated.Because(err)
	}
	if c.Subject != "" {
		if s.UserID, err = uuid.Parse(c.Subject); err != nil {
			return nil, ErrUnauthenticated.Because(err)
		}
	}
	return s, nil
}

// identityPrefix begins every participant identity that Usher makes. Recorders, agents and phone callers have others.
const identityPrefix = "p_"

// NewIdentity makes the identity of a new participant in a room: random for everybody who looks at it, while this server
// can tell whose it is without having stored it. uuid.Nil stands for people without an account.
//
// It is the user id sealed with AES-256-GCM under a random nonce, bound to the room.
func (k *Keys) NewIdentity(room, user uuid.UUID) string {
	aead := identityCipher(k.Current(PurposeIdentity))
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return identityPrefix + base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, user[:], room[:]))
}

// IdentityUser tells whose an identity in a room is: uuid.Nil for people without an account. ok is false for identities
// that this server did not make for that room.
func (k *Keys) IdentityUser(room uuid.UUID, identity string) (user uuid.UUID, ok bool) {
	sealed, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(identity, identityPrefix))
	if err != nil || !strings.HasPrefix(identity, identityPrefix) {
		return uuid.Nil, false
	}
	for _, key := range k.Accepted(PurposeIdentity) {
		aead := identityCipher(key)
		if len(sealed) != aead.NonceSize()+len(user)+aead.Overhead() {
			return uuid.Nil, false
		}
		plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], room[:])
		if err == nil {
			return uuid.UUID(plain), true
		}
	}
	return uuid.Nil, false
}

func identityCipher(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(fmt.Sprintf("identity cipher: %v", err)) // only for a key of the wrong length
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(fmt.Sprintf("identity cipher: %v", err)) // only for a block of the wrong size
	}
	return aead
}

var errDeactivatedSince = ErrUnauthenticated.Saying("the account was deactivated since then: join again")

// IssuedBeforeDeactivation reports whether a credential is from before its account was deactivated last: it stays refused
// after the account became active again. Credentials count in whole seconds, so one from the same second is refused too.
func IssuedBeforeDeactivation(u *ent.User, issued time.Time) bool {
	return u.DeactivateTime != nil && !issued.After(*u.DeactivateTime)
}
