package invitations

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	"github.com/usher-meet/usher/gen/ent/mailsuppression"
	"github.com/usher-meet/usher/server/auth"
)

// newToken makes the token of a link: 256 random bits.
func newToken() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(random[:])
}

func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// seal makes of a token what is stored for the letters to come: useless to who has the database and not the secret.
func (s *Service) seal(id uuid.UUID, token string) []byte {
	aead := newCipher(s.Keys.Current(auth.PurposeInvitation))
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return aead.Seal(nonce, nonce, []byte(token), id[:])
}

// errSealed is a token that cannot be read any more, because the secret was changed twice.
var errSealed = errors.New("the link was sealed with another secret")

func (s *Service) unseal(i *ent.Invitation) (string, error) {
	if i.TokenSealed == nil {
		return "", errSealed
	}
	sealed := *i.TokenSealed
	for _, key := range s.Keys.Accepted(auth.PurposeInvitation) {
		aead := newCipher(key)
		if len(sealed) < aead.NonceSize() {
			break
		}
		token, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], i.ID[:])
		if err == nil {
			return string(token), nil
		}
	}
	return "", errSealed
}

func newCipher(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(fmt.Sprintf("invitation cipher: %v", err)) // only for a key of the wrong length
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(fmt.Sprintf("invitation cipher: %v", err)) // only for a block of the wrong size
	}
	return aead
}

// hashAddress is by what somebody who wants no mail is known.
func hashAddress(key []byte, address string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(folded(address)))
	return mac.Sum(nil)
}

// suppressed reports whether the owner of an address wants no mail. What was kept under the secret before is kept under
// this one from now on.
func (s *Service) suppressed(ctx context.Context, tx *ent.Client, address string) (bool, error) {
	keys := s.Keys.Accepted(auth.PurposeSuppression)
	for n, key := range keys {
		found, err := tx.MailSuppression.Query().Where(mailsuppression.AddressHash(hashAddress(key, address))).Exist(ctx)
		if err != nil {
			return false, fmt.Errorf("find suppression: %w", err)
		}
		if found && n > 0 {
			return true, suppress(ctx, tx, hashAddress(keys[0], address))
		}
		if found {
			return true, nil
		}
	}
	return false, nil
}

func suppress(ctx context.Context, tx *ent.Client, hash []byte) error {
	err := tx.MailSuppression.Create().
		SetAddressHash(hash).
		OnConflictColumns(mailsuppression.FieldAddressHash).
		Ignore().
		Exec(ctx)
	if err != nil {
		return fmt.Errorf("insert suppression: %w", err)
	}
	return nil
}

// stopMAC is how much of the proof a stop token has, in bytes.
const stopMAC = 16

// stopToken is the key to ending mail to an address: the hash by which that is known, and a proof that it is ours. It
// tells nobody the address, and works when the invitation is gone.
func (s *Service) stopToken(address string) string {
	hash := hashAddress(s.Keys.Current(auth.PurposeSuppression), address)
	return base64.RawURLEncoding.EncodeToString(append(hash, stopProof(s.Keys.Current(auth.PurposeMailStop), hash)...))
}

func stopProof(key, hash []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(hash)
	return mac.Sum(nil)[:stopMAC]
}

// readStop returns the hash of an address from a stop token.
func (s *Service) readStop(token string) (hash []byte, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != sha256.Size+stopMAC {
		return nil, false
	}
	hash = raw[:sha256.Size]
	for _, key := range s.Keys.Accepted(auth.PurposeMailStop) {
		if hmac.Equal(raw[sha256.Size:], stopProof(key, hash)) {
			return hash, true
		}
	}
	return nil, false
}
