// Package itemlimits refuses requests that have more items in a list, a map or a field mask than the contract allows, before
// anything looks at the items. Validation reports every mistake of every item, so that a request of 1 MiB with empty items
// would cost seconds and hundreds of megabytes.
package itemlimits

import (
	"context"
	"math"
	"sync"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/usher-meet/usher/server/fault"
)

// maskPaths is how many paths a field mask may have. No message of the contract has as many fields.
const maskPaths = 50

// Interceptor refuses requests. Put it before validation, and inside fault.Interceptor.
type Interceptor struct{}

var _ connect.Interceptor = Interceptor{}

// WrapUnary implements connect.Interceptor.
func (Interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if m, ok := req.Any().(proto.Message); ok {
			if err := Check(m); err != nil {
				return nil, err
			}
		}
		return next(ctx, req)
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (Interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return next(ctx, checkedConn{conn})
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (Interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// checkedConn refuses messages of a stream.
type checkedConn struct{ connect.StreamingHandlerConn }

// Receive implements connect.StreamingHandlerConn.
func (c checkedConn) Receive(message any) error {
	if err := c.StreamingHandlerConn.Receive(message); err != nil {
		return err
	}
	if m, ok := message.(proto.Message); ok {
		return Check(m)
	}
	return nil
}

// Check refuses a message with too many items, and names the field.
func Check(m proto.Message) error { return check(m.ProtoReflect(), "") }

func check(m protoreflect.Message, above string) error {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			continue
		}
		name, value := above+string(f.Name()), m.Get(f)
		var err error
		switch {
		case f.IsList():
			err = checkList(f, value.List(), name)
		case f.IsMap():
			err = checkMap(f, value.Map(), name)
		case f.Message() != nil:
			err = check(value.Message(), name+".")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkList(f protoreflect.FieldDescriptor, items protoreflect.List, name string) error {
	if limit := limitOf(f); items.Len() > limit {
		return tooMany(name, limit)
	}
	if f.Message() == nil {
		return nil
	}
	for n := range items.Len() {
		if err := check(items.Get(n).Message(), name+"."); err != nil {
			return err
		}
	}
	return nil
}

func checkMap(f protoreflect.FieldDescriptor, values protoreflect.Map, name string) (err error) {
	if limit := limitOf(f); values.Len() > limit {
		return tooMany(name, limit)
	}
	if f.MapValue().Message() == nil {
		return nil
	}
	values.Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
		err = check(v.Message(), name+".")
		return err == nil
	})
	return err
}

func tooMany(field string, limit int) error {
	return fault.Invalid(field, "more than %d items", limit)
}

// limits are what [Limit] found, by the descriptor of the field.
var limits sync.Map

// limitOf is the limit of a list or map. One without a limit may be empty only: a test sees to it that the contract has
// none of those.
func limitOf(f protoreflect.FieldDescriptor) int {
	if known, ok := limits.Load(f); ok {
		return known.(int)
	}
	limit, _ := Limit(f)
	limits.Store(f, limit)
	return limit
}

// Limit is how many items a list or map may have, and ok whether the contract says so.
func Limit(f protoreflect.FieldDescriptor) (limit int, ok bool) {
	if f.FullName() == "google.protobuf.FieldMask.paths" {
		return maskPaths, true
	}
	rules, err := protovalidate.ResolveFieldRules(f)
	if err != nil || rules == nil {
		return 0, false
	}
	most := uint64(math.MaxUint64)
	switch {
	case f.IsList() && rules.GetRepeated().HasMaxItems():
		most = rules.GetRepeated().GetMaxItems()
	case f.IsMap() && rules.GetMap().HasMaxPairs():
		most = rules.GetMap().GetMaxPairs()
	}
	if most > math.MaxInt32 {
		return 0, false
	}
	return int(most), true
}
