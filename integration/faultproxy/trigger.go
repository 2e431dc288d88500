package faultproxy

import (
	"bytes"
	"slices"
)

// When says at what moment of a request the network fails.
type When uint8

const (
	Before When = iota // the request has not reached the server, and does not unless Heal ends a Hang
	During             // the request was forwarded whole, and the server works on it
	Lost               // the server has answered, and no byte of the answer has passed
	After              // the answer has passed, and the client can read it
)

// String returns the moment's name.
func (w When) String() string { return [...]string{"before", "during", "lost", "after"}[w] }

// trigger waits for a request.
type trigger struct {
	match func(sent []byte) bool
	when  When
	left  int // matches until it strikes
	do    func(*Proxy)
	fired chan struct{}
}

// On calls do once, e.g. (*Proxy).Cut or (*Proxy).Hang, at the given moment of the nth request from now on that match
// accepts; 1 is the next. The channel is closed when do has returned; nothing passes over that client's connection
// meanwhile. Where several triggers are due at one request, the one that was set first strikes, and the others at the next.
//
// sent is what one read from a client gave: one request, as long as the client waits for answers, the request is short, and
// TLS is off. Arguments of a prepared statement come without its text, and the text without them. match must be safe
// for concurrent use.
func (p *Proxy) On(match func(sent []byte) bool, when When, nth int, do func(*Proxy)) (fired <-chan struct{}) {
	t := &trigger{match: match, when: when, left: nth, do: do, fired: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.triggers = append(p.triggers, t)
	return t.fired
}

// Text returns a match for requests that hold a text, e.g. "PREPARE TRANSACTION".
func Text(text string) func(sent []byte) bool {
	return func(sent []byte) bool { return bytes.Contains(sent, []byte(text)) }
}

// match returns the trigger that is to strike at a request, and takes it from the list.
func (p *Proxy) match(sent []byte) *trigger {
	p.mu.Lock()
	defer p.mu.Unlock()
	var due *trigger
	p.triggers = slices.DeleteFunc(p.triggers, func(t *trigger) bool {
		if !t.match(sent) {
			return false
		}
		t.left--
		if t.left > 0 || due != nil {
			return false
		}
		due = t
		return true
	})
	return due
}

func (t *trigger) strike(p *Proxy) {
	t.do(p)
	close(t.fired)
}
