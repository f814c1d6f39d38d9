package objectstore

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Folder is a folder on this machine, or one that it shares with LiveKit's egress.
type Folder struct {
	// Path of the folder. Required.
	Path string
	// URL is Usher's own address, below which Presign makes addresses. Required.
	URL string
	// Secret signs those addresses. Required.
	Secret []byte
}

// Close does nothing.
func (*Folder) Close() {}

// Ping reports whether the folder is there.
func (f *Folder) Ping(context.Context) error {
	info, err := os.Stat(f.Path)
	if err != nil {
		return fmt.Errorf("find the folder of recordings: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s, where recordings should be, is not a folder", f.Path)
	}
	return nil
}

// Size is the size of a file in bytes.
func (f *Folder) Size(_ context.Context, key string) (int64, error) {
	root, err := os.OpenRoot(f.Path)
	if err != nil {
		return 0, unavailable(err)
	}
	defer func() { _ = root.Close() }()
	info, err := root.Stat(filepath.FromSlash(key))
	if err != nil {
		return 0, fmt.Errorf("find file: %w", err)
	}
	return info.Size(), nil
}

// Open reads a file from an offset on.
func (f *Folder) Open(_ context.Context, key string, offset int64) (io.ReadCloser, error) {
	root, err := os.OpenRoot(f.Path)
	if err != nil {
		return nil, unavailable(err)
	}
	defer func() { _ = root.Close() }()
	file, err := root.Open(filepath.FromSlash(key))
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("read file: %w", err), file.Close())
	}
	return file, nil
}

// Delete deletes a file. That there is none is success.
func (f *Folder) Delete(_ context.Context, key string) error {
	root, err := os.OpenRoot(f.Path)
	if err != nil {
		return unavailable(err)
	}
	defer func() { _ = root.Close() }()
	if err := root.Remove(filepath.FromSlash(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete file: %w", err)
	}
	return nil
}

// unavailable hides fs.ErrNotExist: that the folder itself is not there says nothing about a file in it.
func unavailable(err error) error {
	return fmt.Errorf("open the folder of recordings: %v", err) //nolint:errorlint // see above
}

// Presign makes an address of Usher itself at which a file can be fetched for some time.
func (f *Folder) Presign(_ context.Context, key, _ string, life time.Duration) (string, error) {
	expires := strconv.FormatInt(time.Now().Add(life).Unix(), 10)
	query := url.Values{"expires": {expires}, "signature": {f.signature(key, expires)}}
	return f.URL + "/media/" + key + "?" + query.Encode(), nil
}

// Verify reports whether the query of a request for a key is one that Presign made, and that it has not expired.
func (f *Folder) Verify(key string, query url.Values) bool {
	expires := query.Get("expires")
	at, err := strconv.ParseInt(expires, 10, 64)
	if err != nil || time.Now().Unix() > at {
		return false
	}
	return hmac.Equal([]byte(query.Get("signature")), []byte(f.signature(key, expires)))
}

func (f *Folder) signature(key, expires string) string {
	mac := hmac.New(sha256.New, f.Secret)
	mac.Write([]byte(expires + " " + key))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// errNoSigning is a proxy that wants to fetch files from a folder.
var errNoSigning = errors.New("recordings are in a folder: a proxy cannot fetch them, pass /media/ on to Usher")

// Sign fails: a folder has no requests to sign.
func (*Folder) Sign(string) (http.Header, error) { return nil, errNoSigning }
