// Package smallstack is for streams that wait: what needs a deep stack for a moment runs on another goroutine's.
package smallstack

// Call runs fn on a goroutine of its own, and returns when it has. A panic of fn is one of the caller's.
//
// Databases, decoders and encoders need deep stacks. A goroutine that once had one keeps it while more than a quarter of it
// is in use, and the frames of a call that streams are more than that: ten thousand streams that wait for half an hour would
// each hold 16 KiB where 8 are enough for what they wait in.
func Call(fn func()) {
	var failure any
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { failure = recover() }()
		fn()
	}()
	<-ended
	if failure != nil {
		panic(failure)
	}
}
