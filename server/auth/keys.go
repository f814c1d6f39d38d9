package auth

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Purpose is the use of a key. A token of one purpose is refused for every other, because its key is another one.
type Purpose string

// The purposes of keys. They are part of every token's key: renaming one voids the tokens.
const (
	PurposeAPIToken           Purpose = "usher api token"
	PurposeParticipantSession Purpose = "usher participant session"
	PurposeIdentity           Purpose = "usher participant identity"
	PurposePageToken          Purpose = "usher page token"
	PurposeLobbyTicket        Purpose = "usher lobby ticket"
	PurposeSignIn             Purpose = "usher sign-in state"
	PurposeInvitation         Purpose = "usher invitation link"
	PurposeSuppression        Purpose = "usher mail suppression"
	PurposeMailStop           Purpose = "usher mail stop"
	PurposeDownload           Purpose = "usher download address"
	PurposeCaller             Purpose = "usher phone caller"
)

// Keys derives one key per purpose from the instance's secret (USHER_SECRET), and from the one before it, with which
// things are still read but no longer made, so that a secret can be changed without signing everybody out.
type Keys struct {
	current, previous map[Purpose][]byte
}

// purposes are all purposes.
var purposes = []Purpose{
	PurposeAPIToken, PurposeParticipantSession, PurposeIdentity, PurposePageToken, PurposeLobbyTicket, PurposeSignIn,
	PurposeInvitation, PurposeSuppression, PurposeMailStop,
	PurposeDownload, PurposeCaller,
}

// NewKeys takes the secret and the one before it, which may be empty. All keys are derived here: a token is checked with
// every call, and deriving its key took half as long as signing.
func NewKeys(current, previous []byte) *Keys {
	return &Keys{current: deriveAll(current), previous: deriveAll(previous)}
}

func deriveAll(secret []byte) map[Purpose][]byte {
	if len(secret) == 0 {
		return nil
	}
	keys := make(map[Purpose][]byte, len(purposes))
	for _, p := range purposes {
		keys[p] = derive(secret, p)
	}
	return keys
}

// Current is the key to make things with.
func (k *Keys) Current(p Purpose) []byte { return k.current[p] }

// Accepted are the keys to read things with, newest first.
func (k *Keys) Accepted(p Purpose) [][]byte {
	keys := [][]byte{k.current[p]}
	if key, ok := k.previous[p]; ok {
		keys = append(keys, key)
	}
	return keys
}

// derive is HKDF-SHA256 (RFC 5869) without a salt: the secret is uniform already.
func derive(secret []byte, p Purpose) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, string(p), 32)
	if err != nil {
		panic(err) // only for a length over 8,160 bytes
	}
	return key
}

// Sign makes a JWT of ours (HS256, RFC 7519) for a purpose.
func (k *Keys) Sign(p Purpose, claims jwt.Claims) (string, error) {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(k.Current(p))
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", p, err)
	}
	return token, nil
}

// Verify reads a JWT of ours into claims. It fails with [ErrTokenExpired] when only its time is wrong, else with
// [ErrUnauthenticated].
func (k *Keys) Verify(p Purpose, token string, claims jwt.Claims) error {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired(), jwt.WithTimeFunc(time.Now))
	_, err := parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) {
		set := jwt.VerificationKeySet{}
		for _, key := range k.Accepted(p) {
			set.Keys = append(set.Keys, key)
		}
		return set, nil
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return ErrTokenExpired
	}
	return ErrUnauthenticated.Because(err)
}
