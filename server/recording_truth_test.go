package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usher-meet/usher/gen/ent"
	usherv1 "github.com/usher-meet/usher/gen/go/usher/v1"
	"github.com/usher-meet/usher/server/internal/mailcatcher"
	"github.com/usher-meet/usher/server/internal/recorder"
	"github.com/usher-meet/usher/server/jobs"
)

// This file is what must be true in and after the torture of recordings.

// rows are the recordings as they are stored.
func (m *torture) rows(ctx context.Context) []*ent.Recording {
	m.t.Helper()
	rows, err := m.DB.Read.Recording.Query().All(ctx)
	if err != nil {
		m.t.Errorf("read recordings: %v", err)
	}
	return rows
}

// rank orders statuses by what may follow what; those with the same rank exclude each other.
var rank = map[usherv1.RecordingStatus]int{
	usherv1.RecordingStatus_RECORDING_STATUS_INITIATED: 1, usherv1.RecordingStatus_RECORDING_STATUS_ACTIVE: 2,
	usherv1.RecordingStatus_RECORDING_STATUS_FAILED_TO_STOP: 3, usherv1.RecordingStatus_RECORDING_STATUS_STOPPED: 4,
	usherv1.RecordingStatus_RECORDING_STATUS_ABORTED: 7, usherv1.RecordingStatus_RECORDING_STATUS_FAILED_TO_START: 7,
	usherv1.RecordingStatus_RECORDING_STATUS_FAILED: 5, usherv1.RecordingStatus_RECORDING_STATUS_SAVED: 6,
	usherv1.RecordingStatus_RECORDING_STATUS_NOTIFICATION_SUCCEEDED: 7,
}

func over(r *ent.Recording) bool { return rank[r.Status] >= 5 }

func withFile(r *ent.Recording) bool {
	return r.Status == usherv1.RecordingStatus_RECORDING_STATUS_SAVED || r.Status == recordingToldOf
}

// watch looks all the time, until ctx is done: a room has one recording that goes on, no recording goes back, and what was
// true at its end stays so.
func (m *torture) watch(ctx context.Context) {
	before := map[uuid.UUID]usherv1.RecordingStatus{}
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		going := map[uuid.UUID]int{}
		for _, r := range m.rows(context.WithoutCancel(ctx)) {
			was := before[r.ID]
			before[r.ID] = r.Status
			saved := was == usherv1.RecordingStatus_RECORDING_STATUS_SAVED
			if rank[r.Status] < rank[was] || rank[r.Status] == rank[was] && r.Status != was || saved && !withFile(r) {
				m.t.Errorf("recording %s was %v, and is %v", r.ID, was, r.Status)
			}
			if rank[r.Status] <= 3 {
				if going[r.RoomID]++; going[r.RoomID] > 1 {
					m.t.Errorf("%d recordings go on in room %s", going[r.RoomID], r.RoomID)
				}
			}
		}
	}
}

// truth is what is not true yet of what the recordings say; empty when all is.
func (m *torture) truth() string {
	for _, r := range m.rows(m.t.Context()) {
		there := m.s3.Has(r.ObjectKey)
		switch {
		case !over(r):
			return fmt.Sprintf("%s is %v", r.ID, r.Status)
		case r.Mode == screenRecording && r.Status == usherv1.RecordingStatus_RECORDING_STATUS_SAVED:
			return fmt.Sprintf("%s is saved, and nobody was told", r.ID)
		case withFile(r) && !there:
			return fmt.Sprintf("%s is %v, without a file", r.ID, r.Status)
		case !withFile(r) && there:
			return fmt.Sprintf("%s is %v, with a file", r.ID, r.Status)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if ids := m.recorder.Recording(); len(ids) > 0 {
		return fmt.Sprintf("recorders go on: %v", ids)
	}
	return ""
}

// untilTrue waits until everything is.
func (m *torture) untilTrue() {
	m.t.Helper()
	begin, what := time.Now(), ""
	for deadline := begin.Add(tortureCalm); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if what = m.truth(); what == "" {
			m.t.Logf("all was true after %v", time.Since(begin).Round(100*time.Millisecond))
			return
		}
	}
	m.t.Fatalf("not after %v: %s", tortureCalm, what)
}

// recordWell records in every room, as if nothing had ever happened there.
func (m *torture) recordWell() {
	m.mu.Lock()
	clear(m.scripts)
	m.mu.Unlock()
	var group sync.WaitGroup
	for _, r := range m.rooms {
		group.Go(func() {
			rng := m.chance()
			m.enterRoom(r)
			var id string
			err := m.call(r, rng, "start", func(c *clients) error {
				res, err := c.StartRecording(m.t.Context(), &usherv1.StartRecordingRequest{Room: r.id, Mode: screenRecording})
				id = res.GetRecording().GetId()
				return err
			})
			if err != nil {
				m.t.Errorf("start after all: %v", err)
				return
			}
			is := func(want usherv1.RecordingStatus) func() bool {
				return func() bool {
					return slices.ContainsFunc(m.rows(m.t.Context()), func(row *ent.Recording) bool { return row.ID.String() == id && row.Status == want })
				}
			}
			wait := func(want usherv1.RecordingStatus) {
				for deadline := time.Now().Add(30 * time.Second); !is(want)(); time.Sleep(50 * time.Millisecond) {
					if time.Now().After(deadline) {
						m.t.Errorf("after all, %s is not %v", id, want)
						return
					}
				}
			}
			wait(recordingActive)
			if err := m.call(r, rng, "stop", func(c *clients) error {
				_, err := c.StopRecording(m.t.Context(), &usherv1.StopRecordingRequest{Room: r.id})
				return err
			}); err != nil {
				m.t.Errorf("stop after all: %v", err)
			}
			wait(recordingToldOf)
		})
	}
	group.Wait()
}

// checkFiles downloads what is saved.
func (m *torture) checkFiles() (saved int) {
	m.t.Helper()
	for _, r := range m.rows(m.t.Context()) {
		if !withFile(r) || r.Mode != screenRecording {
			continue
		}
		saved++
		res, err := m.room(r).hosts[0].CreateDownloadUrl(m.t.Context(), &usherv1.CreateDownloadUrlRequest{RecordingId: r.ID.String()})
		if err != nil {
			m.t.Errorf("download of %s: %v", r.ID, err)
			continue
		}
		status, body := fetch(m.t, res.GetUrl())
		want := recorder.Film
		if r.Interrupted && len(body) < len(want) {
			want = want[:len(want)/2] // what a recorder that fails has stored
		}
		if status != http.StatusOK || !bytes.Equal(body, want) || r.SizeBytes != int64(len(want)) {
			m.t.Errorf("%s: %d, %d bytes, want the film; the recording says %d", r.ID, status, len(body), r.SizeBytes)
		}
	}
	return saved
}

func fetch(t testing.TB, address string) (int, []byte) {
	t.Helper()
	res := must[*http.Response](t)(http.Get(address))
	defer res.Body.Close()
	return res.StatusCode, must[[]byte](t)(io.ReadAll(res.Body))
}

// checkMails: whoever started a recording that is saved was told once, or again after a server was killed that could not
// write it down; the second mail has the same Message-ID. The same is true of the friend, who may have come too late. Nobody
// was told of anything else.
func (m *torture) checkMails() (twice int) {
	m.t.Helper()
	type told struct{ recording, person string }
	mails := map[told][]mailcatcher.Mail{}
	ids := map[told]string{}
	for _, mail := range m.mails.Mails() {
		parts, err := mail.Read()
		if err != nil {
			m.t.Errorf("a mail cannot be read: %v", err)
			continue
		}
		_, after, _ := strings.Cut(parts.Text, "/recording/")
		who := told{after[:min(36, len(after))], mail.To}
		message := parts.Header.Get("Message-ID")
		if first, ok := ids[who]; ok && first != message {
			m.t.Errorf("%s was told of as %s and as %s", who.recording, first, message)
		}
		mails[who], ids[who] = append(mails[who], mail), message
	}
	for _, r := range m.rows(m.t.Context()) {
		owner := told{r.ID.String(), string(m.room(r).owner.Email)}
		friend := told{owner.recording, string(m.friend.Email)}
		if want := r.Status == recordingToldOf; want != (len(mails[owner]) > 0) || !want && len(mails[friend]) > 0 {
			m.t.Errorf("%s is %v, and %d and %d mails were sent", r.ID, r.Status, len(mails[owner]), len(mails[friend]))
		}
		for _, who := range []told{owner, friend} {
			for n, again := range mails[who] {
				if n == 0 {
					continue
				}
				twice++
				before := mails[who][n-1].Time
				if !slices.ContainsFunc(m.kills, func(k time.Time) bool { return k.After(before) && k.Before(again.Time) }) {
					m.t.Errorf("%s was told of again, though no server was killed in between", r.ID)
				}
			}
			delete(mails, who)
		}
	}
	if len(mails) > 0 {
		m.t.Errorf("%d mails about no recording, or to somebody else", len(mails))
	}
	return twice
}

// room is that of a recording.
func (m *torture) room(r *ent.Recording) *tortureRoom {
	return m.rooms[slices.IndexFunc(m.rooms, func(room *tortureRoom) bool { return room.id == r.RoomID.String() })]
}

// checkJobs: none was given up.
func (m *torture) checkJobs() {
	m.t.Helper()
	client := must[*jobs.Client](m.t)(jobs.New(m.DB, nil, jobs.Options{}))
	if dead := must[[]jobs.Job](m.t)(client.List(m.t.Context(), jobs.Filter{States: []string{"dead"}, Limit: 100})); len(dead) > 0 {
		m.t.Errorf("given up: %+v", dead)
	}
}
