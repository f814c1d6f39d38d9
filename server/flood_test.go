package server_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"maps"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/usher-meet/usher/server/auth"
	"github.com/usher-meet/usher/server/fault"
)

// What the refusal of one request may cost.
const (
	floodAnswer = 8 << 10
	floodCPU    = 200 * time.Millisecond
	floodMemory = 100 << 20
)

// Refusing a request costs little, however many items it has in any list, map or field mask of the contract.
//
// It does not run in parallel: the time and memory of the process are those of the one call.
func TestFlood(t *testing.T) {
	i := start(t)
	cookie := i.session(i.user("Mallory Flood"))
	now := time.Now()
	participant := must[string](t)(i.Keys.SignSession(auth.ParticipantSession{
		RoomID: uuid.New(), Identity: "flood", DisplayName: "Flood", JoinTime: now, ExpireTime: now.Add(time.Hour),
	}))
	callers := []http.Header{
		{"Cookie": {cookie.String()}},
		{"Authorization": {"Bearer " + participant}},
		{"Authorization": {"Bearer " + serviceToken}},
		{"Authorization": {"Bearer " + phoneServiceToken}},
	}
	flooded := 0
	for _, m := range methods(t) {
		for _, path := range manyFields(m.Input(), nil) {
			flooded++
			t.Run(string(m.Name())+"/"+fieldNames(path), func(t *testing.T) {
				i.flood(t, procedure(m), "application/proto", floodBinary(path), callers)
				i.flood(t, procedure(m), "application/json", floodJSON(path), callers)
			})
		}
	}
	if flooded < 10 {
		t.Errorf("%d lists were flooded, want all of the contract", flooded)
	}
}

// flood sends a body as it is and compressed, as the first caller that is let through to the method.
func (i *instance) flood(t *testing.T, procedure, contentType, body string, callers []http.Header) {
	t.Helper()
	if len(body) > fault.MaxRequest || len(body) < fault.MaxRequest-100 {
		t.Fatalf("a request of %d bytes, want as many as are read", len(body))
	}
	var small bytes.Buffer
	w := gzip.NewWriter(&small)
	_, _ = io.WriteString(w, body) // a buffer takes everything
	_ = w.Close()
	for _, encoding := range []string{"identity", "gzip"} {
		sent := body
		if encoding == "gzip" {
			sent = small.String()
		}
		for n, caller := range callers {
			status, answer, used := i.cost(t, procedure, sent, func(h http.Header) {
				maps.Copy(h, caller)
				h.Set("Content-Type", contentType)
				h.Set("Content-Encoding", encoding)
			})
			if last := n == len(callers)-1; !last && (status == http.StatusUnauthorized || status == http.StatusForbidden) {
				continue
			}
			if status != http.StatusBadRequest || !bytes.Contains(answer, []byte("INVALID_REQUEST")) {
				t.Errorf("%s, %s: %d %.300s, want INVALID_REQUEST", contentType, encoding, status, answer)
			}
			if len(answer) > floodAnswer || used.cpu > slowdown(floodCPU) || used.memory > floodMemory {
				t.Errorf("%s, %s: an answer of %d bytes, %s of CPU, %d MB of memory; want at most %d bytes, %s, %d MB",
					contentType, encoding, len(answer), used.cpu, used.memory>>20, floodAnswer, floodCPU, floodMemory>>20)
			}
			break
		}
	}
}

// cost sends a request, and says what it takes: the least of three times, because others use this machine as well.
func (i *instance) cost(t *testing.T, procedure, body string, with func(http.Header)) (status int, answer []byte, least usage) {
	t.Helper()
	for n := range 3 {
		req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodPost, i.URL+procedure, strings.NewReader(body)))
		with(req.Header)
		before := usageNow(t)
		res := must[*http.Response](t)(http.DefaultClient.Do(req))
		answer = must[[]byte](t)(io.ReadAll(res.Body))
		used := usageNow(t).since(before)
		_ = res.Body.Close()
		if status = res.StatusCode; n == 0 || used.cpu < least.cpu {
			least = used
		}
	}
	return status, answer, least
}

// manyFields are the paths to all lists, maps and field masks in a message.
func manyFields(d protoreflect.MessageDescriptor, above []protoreflect.FieldDescriptor) (found [][]protoreflect.FieldDescriptor) {
	for n := range d.Fields().Len() {
		f := d.Fields().Get(n)
		path := slices.Concat(above, []protoreflect.FieldDescriptor{f})
		if f.IsList() || f.IsMap() {
			found = append(found, path)
		}
		if f.Message() != nil && !f.IsMap() && len(path) < 6 {
			found = append(found, manyFields(f.Message(), path)...)
		}
	}
	return found
}

func fieldNames(path []protoreflect.FieldDescriptor) string {
	names := make([]string, len(path))
	for i, f := range path {
		names[i] = string(f.Name())
	}
	return strings.Join(names, ".")
}

// floodItems is how many bytes of a request are left for items beside what is wrapped around them.
const floodItems = fault.MaxRequest - 90

// floodBinary is a request with as many empty items in a field as fit.
func floodBinary(path []protoreflect.FieldDescriptor) string {
	last := path[len(path)-1]
	var b []byte
	if last.IsPacked() {
		b = protowire.AppendTag(nil, last.Number(), protowire.BytesType)
		b = protowire.AppendBytes(b, bytes.Repeat([]byte{1}, floodItems))
	} else {
		item := append(protowire.AppendTag(nil, last.Number(), protowire.BytesType), 0)
		b = bytes.Repeat(item, floodItems/len(item))
	}
	for n := len(path) - 2; n >= 0; n-- {
		b = protowire.AppendBytes(protowire.AppendTag(nil, path[n].Number(), protowire.BytesType), b)
	}
	return string(b)
}

// floodJSON is the same in JSON.
func floodJSON(path []protoreflect.FieldDescriptor) string {
	last := path[len(path)-1]
	item, opening, closing := `"",`, "[", "]"
	switch {
	case last.FullName() == "google.protobuf.FieldMask.paths":
		// One text in JSON, at the place of the mask itself.
		item, opening, closing, path = `a,`, `"`, `"`, path[:len(path)-1]
	case last.IsMap():
		item, opening, closing = `"":null,`, "{", "}"
	case last.Kind() == protoreflect.MessageKind:
		item = `{},`
	case last.Kind() != protoreflect.StringKind:
		item = `1,`
	}
	s := opening + strings.TrimSuffix(strings.Repeat(item, floodItems/len(item)), ",") + closing
	for n := len(path) - 1; n >= 0; n-- {
		s = `{"` + path[n].JSONName() + `":` + s + `}`
		if n > 0 && path[n-1].IsList() {
			s = "[" + s + "]"
		}
	}
	// The spaces bring every request to the same size.
	return s + strings.Repeat(" ", max(0, fault.MaxRequest-len(s)))
}

// usage is what the process has used.
type usage struct {
	cpu    time.Duration
	memory uint64
}

func usageNow(t *testing.T) usage {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{cpu: time.Duration(r.Utime.Nano() + r.Stime.Nano()), memory: m.TotalAlloc}
}

func (u usage) since(before usage) usage {
	return usage{cpu: u.cpu - before.cpu, memory: u.memory - before.memory}
}

// slowdown is the bar for d of CPU time, ten times as high under the race detector.
func slowdown(d time.Duration) time.Duration {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			return 10 * d
		}
	}
	return d
}
