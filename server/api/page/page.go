// Package page makes and reads the tokens with which lists go on.
//
// A token says where the page before ended. It is sealed, so it tells a client nothing and cannot be made by one, and
// bound to the caller, the method and the filter it was made for: in front of anything else it is refused, not ignored.
package page

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"connectrpc.com/connect"

	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
)

// ErrTokenInvalid is a token that was not made for this caller, method and filter.
var ErrTokenInvalid = fault.New(connect.CodeInvalidArgument, usherv1.ErrorReason_ERROR_REASON_PAGE_TOKEN_INVALID,
	"the page token was not made for this list: start again without one")

const (
	defaultSize = 20
	maxSize     = 100
)

// Size is how many rows to return for a page_size: 20 when it is 0, never more than 100.
func Size(requested int32) (int, error) {
	switch {
	case requested < 0:
		return 0, fault.Invalid("page_size", "must not be negative")
	case requested == 0:
		return defaultSize, nil
	}
	return min(int(requested), maxSize), nil
}

// List is a list as one caller asked for it.
type List struct {
	Keys *auth.Keys
	// Caller is auth.Caller.Key.
	Caller string
	// Method names the list.
	Method string
	// Filter is everything in the request that decides what is in the list.
	Filter []string
}

// Token seals a cursor, which encoding/json must be able to encode.
func (l List) Token(cursor any) (string, error) {
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	// Six bytes for each "<" would make the tokens of some names longer than the contract lets them be.
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(cursor); err != nil {
		return "", fmt.Errorf("encode page cursor: %w", err)
	}
	aead := newCipher(l.Keys.Current(auth.PurposePageToken))
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, plain.Bytes(), l.binding())), nil
}

// Cursor opens a token into the cursor that it was made from. It fails with [ErrTokenInvalid].
func (l List) Cursor(token string, cursor any) error {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return ErrTokenInvalid.Because(err)
	}
	for _, key := range l.Keys.Accepted(auth.PurposePageToken) {
		aead := newCipher(key)
		if len(sealed) < aead.NonceSize() {
			return ErrTokenInvalid
		}
		plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], l.binding())
		if err != nil {
			continue
		}
		if err := json.Unmarshal(plain, cursor); err != nil {
			// Made by another version of this server.
			return ErrTokenInvalid.Because(err)
		}
		return nil
	}
	return ErrTokenInvalid
}

// Cut makes a page of at most size rows of found, which has one more if another page follows. next is the token of that
// page, and empty for the last one.
func Cut[T any](l List, found []T, size int, cursor func(last T) any) (rows []T, next string, err error) {
	if len(found) <= size {
		return found, "", nil
	}
	next, err = l.Token(cursor(found[size-1]))
	return found[:size], next, err
}

// binding names the one list that a token belongs to. Each part is preceded by its length: no two lists have the same.
func (l List) binding() []byte {
	var b []byte
	for _, part := range append([]string{l.Caller, l.Method}, l.Filter...) {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

func newCipher(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(fmt.Sprintf("page token cipher: %v", err)) // only for a key of the wrong length
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(fmt.Sprintf("page token cipher: %v", err)) // only for a block of the wrong size
	}
	return aead
}
