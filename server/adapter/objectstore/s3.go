// Package objectstore is where the files of recordings are: in a bucket of any S3 store, or in a folder.
//
// It knows how to find, sign for, read and delete objects by their key. It does not store any: LiveKit's egress does. What
// is not there is an fs.ErrNotExist; every other error means that the storage did not answer, or refused. Errors and URLs of
// this package hold no credentials, but for the addresses that Presign makes, which are secrets themselves.
package objectstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"

	"github.com/usher-meet/usher/server/tlsconfig"
)

// callTimeout bounds each call but the reading of an object, whose first byte it bounds.
const callTimeout = 10 * time.Second

// S3Config says where a bucket is.
type S3Config struct {
	// Endpoint is the address of the store for this server, http or https, without the bucket. Required.
	Endpoint string
	// PublicEndpoint is its address for people, in presigned URLs; ProxyEndpoint the one that a proxy in front of Usher
	// sends signed requests to. Empty: Endpoint.
	PublicEndpoint, ProxyEndpoint string
	// Bucket and Region. Required: without a region, each first call would ask for it.
	Bucket, Region string
	// Key and Secret may read, delete and list the bucket.
	Key, Secret string
	// VirtualHost puts the bucket into the host name instead of the path.
	VirtualHost bool
	// CAFile has certificates, in PEM, that are trusted besides those of the system.
	CAFile string
}

// S3 is a bucket. It is safe for concurrent use.
type S3 struct {
	config        S3Config
	client        *minio.Client
	public, proxy *url.URL
	transport     *http.Transport
}

// NewS3 checks the configuration and reads the CA file. It does not connect: Usher starts while the storage is down.
func NewS3(c S3Config) (*S3, error) {
	if c.Bucket == "" || c.Region == "" || c.Key == "" || c.Secret == "" {
		return nil, errors.New("the storage needs a bucket, a region, an access key and a secret key")
	}
	endpoint, err := parseEndpoint(c.Endpoint)
	if err != nil {
		return nil, err
	}
	s := &S3{config: c}
	if s.public, err = parseEndpoint(cmp.Or(c.PublicEndpoint, c.Endpoint)); err != nil {
		return nil, err
	}
	if s.proxy, err = parseEndpoint(cmp.Or(c.ProxyEndpoint, c.Endpoint)); err != nil {
		return nil, err
	}
	if s.transport, err = transport(c.CAFile); err != nil {
		return nil, err
	}
	s.client, err = s.open(endpoint)
	return s, err
}

func parseEndpoint(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		strings.Trim(u.Path, "/") != "" {
		return nil, errors.New("an address of the storage must be https:// or http:// and a host")
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func transport(caFile string) (*http.Transport, error) {
	config, err := tlsconfig.Load(caFile, "the storage")
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: callTimeout, ResponseHeaderTimeout: callTimeout,
		TLSClientConfig: config,
		// The length and the bytes must be those of the object.
		DisableCompression: true,
	}, nil
}

func (s *S3) open(endpoint *url.URL) (*minio.Client, error) {
	lookup := minio.BucketLookupPath
	if s.config.VirtualHost {
		lookup = minio.BucketLookupDNS
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: credentials.NewStaticV4(s.config.Key, s.config.Secret, ""), Secure: endpoint.Scheme == "https",
		Transport: s.transport, Region: s.config.Region, BucketLookup: lookup, MaxRetries: 2,
	})
	if err != nil {
		return nil, fmt.Errorf("open the storage: %w", err)
	}
	return client, nil
}

// Close closes idle connections.
func (s *S3) Close() { s.transport.CloseIdleConnections() }

// Ping reports whether the storage answers, takes our key and has the bucket.
func (s *S3) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	found, err := s.client.BucketExists(ctx, s.config.Bucket)
	if err != nil {
		return fmt.Errorf("find the bucket: %w", err)
	}
	if !found {
		return fmt.Errorf("the storage has no bucket %q", s.config.Bucket)
	}
	return nil
}

// Size is the size of an object in bytes.
func (s *S3) Size(ctx context.Context, key string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := s.client.StatObject(ctx, s.config.Bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return 0, s.missing(ctx, "find object", err)
	}
	return info.Size, nil
}

// Open reads an object from an offset on, which must be smaller than its size. ctx ends the reading.
func (s *S3) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	var options minio.GetObjectOptions
	if offset > 0 {
		if err := options.SetRange(offset, 0); err != nil {
			return nil, fmt.Errorf("read object: %w", err)
		}
	}
	// Core sends one request at once; Client.GetObject would send one for each seek, and the first with the first read.
	body, _, _, err := minio.Core{Client: s.client}.GetObject(ctx, s.config.Bucket, key, options)
	if err != nil {
		return nil, s.missing(ctx, "read object", err)
	}
	return body, nil
}

// Delete deletes an object. That there is none is success.
func (s *S3) Delete(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := s.client.RemoveObject(ctx, s.config.Bucket, key, minio.RemoveObjectOptions{})
	if err = s.missing(ctx, "delete object", err); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// missing turns the storage's "not found" into fs.ErrNotExist, unless it is the bucket that is not there.
func (s *S3) missing(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	response := minio.ToErrorResponse(err)
	if response.StatusCode != http.StatusNotFound || response.Code == "NoSuchBucket" {
		return fmt.Errorf("%s: %w", what, err)
	}
	// A HEAD has no body that would tell which of the two is missing.
	if pingErr := s.Ping(ctx); pingErr != nil {
		return fmt.Errorf("%s: %w", what, pingErr)
	}
	return fmt.Errorf("%s: %w", what, fs.ErrNotExist)
}

// Presign makes an address at which an object can be fetched for some time, as a file of the given name.
func (s *S3) Presign(_ context.Context, key, name string, life time.Duration) (string, error) {
	u := s.objectURL(s.public, key)
	u.RawQuery = url.Values{"response-content-disposition": {`attachment; filename="` + name + `"`}}.Encode()
	req := http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{}}
	signed := signer.PreSignV4(req, s.config.Key, s.config.Secret, "", s.config.Region, int64(life/time.Second))
	return signed.URL.String(), nil
}

// Verify reports whether an address of Usher itself was made by Presign: it makes none here.
func (*S3) Verify(string, url.Values) bool { return false }

// emptyHash is the SHA-256 of the empty body of a GET.
var emptyHash = func() string {
	sum := sha256.Sum256(nil)
	return hex.EncodeToString(sum[:])
}()

// Sign returns the headers with which a proxy may GET an object from ProxyEndpoint, for some minutes: Authorization,
// X-Amz-Date and X-Amz-Content-Sha256.
func (s *S3) Sign(key string) (http.Header, error) {
	u := s.objectURL(s.proxy, key)
	req := http.Request{
		Method: http.MethodGet,
		URL:    u,
		Host:   u.Host,
		Header: http.Header{"X-Amz-Content-Sha256": {emptyHash}},
	}
	return signer.SignV4(req, s.config.Key, s.config.Secret, "", s.config.Region).Header, nil
}

// objectURL is where an object is.
func (s *S3) objectURL(endpoint *url.URL, key string) *url.URL {
	if s.config.VirtualHost {
		return &url.URL{Scheme: endpoint.Scheme, Host: s.config.Bucket + "." + endpoint.Host, Path: "/" + key}
	}
	return &url.URL{Scheme: endpoint.Scheme, Host: endpoint.Host, Path: "/" + s.config.Bucket + "/" + key}
}
