package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/livekit/protocol/livekit"
	"github.com/livekit/psrpc"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"google.golang.org/protobuf/proto"
)

// job is one recording.
type job struct {
	recorder *Recorder
	script   Script
	output   *livekit.EncodedFileOutput
	stop     chan struct{}
	stopOnce sync.Once
	// over: it records no more, whatever LiveKit was told.
	over atomic.Bool

	mu   sync.Mutex
	info *livekit.EgressInfo
}

// StopEgress ends the recording. It implements rpc.EgressHandlerServerImpl, as does the next.
func (j *job) StopEgress(ctx context.Context, _ *livekit.StopEgressRequest) (*livekit.EgressInfo, error) {
	if j.script.DeafToStop {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	j.stopOnce.Do(func() { close(j.stop) })
	return j.set(func(info *livekit.EgressInfo) {
		if info.GetStatus() == livekit.EgressStatus_EGRESS_ACTIVE {
			info.Status = livekit.EgressStatus_EGRESS_ENDING
		}
	}), nil
}

// UpdateStream refuses, as every recorder does that makes a file.
func (j *job) UpdateStream(ctx context.Context, _ *livekit.UpdateStreamRequest) (*livekit.EgressInfo, error) {
	if j.script.DeafToStop {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, psrpc.NewErrorf(psrpc.InvalidArgument, "UpdateStream called on non-streaming egress")
}

// set changes what is told about the recording, and returns it.
func (j *job) set(change func(*livekit.EgressInfo)) *livekit.EgressInfo {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(j.info)
	j.info.UpdatedAt = time.Now().UnixNano()
	return proto.CloneOf(j.info)
}

// tell tells LiveKit how far the recording has come.
func (j *job) tell(ctx context.Context, change func(*livekit.EgressInfo)) {
	info := j.set(change)
	if _, err := j.recorder.io.UpdateEgress(ctx, info); err != nil && ctx.Err() == nil {
		j.recorder.config.Log.WarnContext(ctx, "stand-in recorder: LiveKit was not told", "egress", info.GetEgressId(), "err", err)
	}
}

// run records until the recording is stopped, or ends by itself.
func (j *job) run(ctx context.Context) {
	if !j.script.NeverActive && j.script.Ending != Aborted {
		j.tell(ctx, func(info *livekit.EgressInfo) {
			info.Status, info.StartedAt = livekit.EgressStatus_EGRESS_ACTIVE, time.Now().UnixNano()
		})
	}
	var after <-chan time.Time
	if j.script.EndAfter > 0 {
		after = time.After(j.script.EndAfter)
	}
	select {
	case <-ctx.Done():
		return
	case <-j.stop:
	case <-after:
	}
	j.end(ctx)
}

// end stores the file, or not, and tells how it ended, or not.
func (j *job) end(ctx context.Context) {
	status, problem, code := livekit.EgressStatus_EGRESS_COMPLETE, "", int32(0)
	switch j.script.Ending {
	case LimitReached:
		status, problem, code = livekit.EgressStatus_EGRESS_LIMIT_REACHED, "Session limit reached", 413
	case Aborted:
		status, problem, code = livekit.EgressStatus_EGRESS_ABORTED, "Start signal not received", 412
	case Failed, FailedPartial:
		status, problem, code = livekit.EgressStatus_EGRESS_FAILED, "the stand-in recorder was told to fail", 500
	default: // nothing went wrong, or nobody is told
	}
	if status != livekit.EgressStatus_EGRESS_ABORTED && j.script.Ending != Died && j.script.Ending != DiedStored {
		j.tell(ctx, func(info *livekit.EgressInfo) { info.Status = livekit.EgressStatus_EGRESS_ENDING })
	}
	film := Film
	if j.output.GetFileType() == livekit.EncodedFileType_OGG {
		film = Sound
	}
	switch j.script.Ending {
	case Complete, LimitReached, DiedStored:
	case FailedPartial:
		film = film[:len(film)/2]
	default:
		film = nil
	}
	if film != nil {
		if err := j.store(ctx, film); err != nil {
			status, problem, code = livekit.EgressStatus_EGRESS_FAILED, err.Error(), 500
		}
	}
	j.over.Store(true)
	if j.script.Ending == Died || j.script.Ending == DiedStored {
		return
	}
	if j.script.SilentEnd {
		<-ctx.Done()
		return
	}
	j.tell(ctx, func(info *livekit.EgressInfo) {
		info.Status, info.Error, info.ErrorCode, info.EndedAt = status, problem, code, time.Now().UnixNano()
		if film != nil {
			info.FileResults = []*livekit.FileInfo{{
				Filename: j.output.GetFilepath(), Size: int64(len(film)), Duration: int64(length),
				StartedAt: info.GetStartedAt(), EndedAt: info.GetEndedAt(),
			}}
		}
	})
}

// store puts the file into the bucket of the order, or into the folder.
func (j *job) store(ctx context.Context, film []byte) error {
	s3 := j.output.GetS3()
	if s3 == nil {
		return j.storeFile(film)
	}
	u, err := url.Parse(s3.GetEndpoint())
	if err != nil {
		return fmt.Errorf("the address of the storage: %w", err)
	}
	lookup := minio.BucketLookupDNS
	if s3.GetForcePathStyle() {
		lookup = minio.BucketLookupPath
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(s3.GetAccessKey(), s3.GetSecret(), ""), Secure: u.Scheme == "https",
		Region: s3.GetRegion(), BucketLookup: lookup,
	})
	if err != nil {
		return fmt.Errorf("the storage: %w", err)
	}
	kind := "video/mp4"
	if j.output.GetFileType() == livekit.EncodedFileType_OGG {
		kind = "audio/ogg"
	}
	_, err = client.PutObject(ctx, s3.GetBucket(), j.output.GetFilepath(), bytes.NewReader(film), int64(len(film)),
		// As LiveKit's egress stores files: whoever passes them on must not pass this on.
		minio.PutObjectOptions{ContentType: kind, ContentDisposition: "inline"})
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	return nil
}

// errFolder is a file that is to go where the stand-in may not write.
var errFolder = errors.New("the stand-in recorder writes into its own folder only")

func (j *job) storeFile(film []byte) error {
	path := filepath.Clean(j.output.GetFilepath())
	folder := filepath.Clean(j.recorder.config.Folder)
	if folder == "." || !strings.HasPrefix(path, folder+string(filepath.Separator)) {
		return errFolder
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("store the film: %w", err)
	}
	// Whole or not at all, as in a bucket.
	if err := os.WriteFile(path+".part", film, 0o600); err != nil {
		return fmt.Errorf("store the film: %w", err)
	}
	if err := os.Rename(path+".part", path); err != nil {
		return fmt.Errorf("store the film: %w", err)
	}
	return nil
}
