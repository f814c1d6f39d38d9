package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// LobbyTicket is the content of a guest's ticket in a lobby. It is signed, and only the hash of its secret is stored, so
// that neither the entry's public id nor what Redis holds is of use to anybody else. It says enough to put the guest back
// into the place that they had, should the stored entry be lost.
type LobbyTicket struct {
	RoomID, EntryID uuid.UUID
	// UserID is uuid.Nil for people without an account.
	UserID uuid.UUID
	// Identity is the guest's participant identity, if they are let in.
	Identity string
	// DisplayName is the name they gave last.
	DisplayName string
	// Meeting is the number of the room's meeting for which they asked.
	Meeting int64
	// RequestTime is when they asked first, to the microsecond.
	RequestTime time.Time
	// Secret are 256 random bits.
	Secret string
	// ExpireTime is when the ticket is of no use any more.
	ExpireTime time.Time
}

type ticketClaims struct {
	jwt.RegisteredClaims
	Identity    string `json:"identity"`
	DisplayName string `json:"name"`
	Meeting     int64  `json:"meeting"`
	// RequestTime is in microseconds: claims of JWT count in seconds.
	RequestTime int64  `json:"asked"`
	Secret      string `json:"secret"`
}

// NewTicketSecret makes the secret of a new ticket.
func NewTicketSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Hash returns the hash that is stored of the ticket.
func (t *LobbyTicket) Hash() string {
	sum := sha256.Sum256([]byte(t.Secret))
	return hex.EncodeToString(sum[:])
}

// SignTicket makes the text of a ticket.
func (k *Keys) SignTicket(t *LobbyTicket) (string, error) {
	c := ticketClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			ID: t.EntryID.String(), Audience: jwt.ClaimStrings{t.RoomID.String()}, ExpiresAt: jwt.NewNumericDate(t.ExpireTime),
		},
		Identity: t.Identity, DisplayName: t.DisplayName, Meeting: t.Meeting, RequestTime: t.RequestTime.UnixMicro(),
		Secret: t.Secret,
	}
	if t.UserID != uuid.Nil {
		c.Subject = t.UserID.String()
	}
	return k.Sign(PurposeLobbyTicket, c)
}

// VerifyTicket reads a ticket. It fails with [ErrTokenExpired] or [ErrUnauthenticated].
func (k *Keys) VerifyTicket(text string) (*LobbyTicket, error) {
	var c ticketClaims
	if err := k.Verify(PurposeLobbyTicket, text, &c); err != nil {
		return nil, err
	}
	t := &LobbyTicket{
		Identity: c.Identity, DisplayName: c.DisplayName, Meeting: c.Meeting, RequestTime: time.UnixMicro(c.RequestTime).UTC(),
		Secret: c.Secret, ExpireTime: c.ExpiresAt.Time,
	}
	if len(c.Audience) != 1 || c.Secret == "" {
		return nil, ErrUnauthenticated
	}
	var err error
	if t.RoomID, err = uuid.Parse(c.Audience[0]); err != nil {
		return nil, ErrUnauthenticated.Because(err)
	}
	if t.EntryID, err = uuid.Parse(c.ID); err != nil {
		return nil, ErrUnauthenticated.Because(err)
	}
	if c.Subject != "" {
		if t.UserID, err = uuid.Parse(c.Subject); err != nil {
			return nil, ErrUnauthenticated.Because(err)
		}
	}
	return t, nil
}
