package simulation

import (
	"fmt"
	"strconv"
	"strings"
)

// point is one call that a process makes: the n-th, from 1, of this operation on this database or the log, for this actor.
type point struct {
	process string // p1 is the coordinator; p2 and so on recover after it
	actor   string // t1, t2: a transaction; bg: opening and recovery; end: closing; log: the log, whoever asks it
	place   string // A, B, C: a database; log; disk: the log's
	op      string // e.g. prepare; recovery's are of a transaction, e.g. commit-prepared(t1)
	n       int
}

// String returns e.g. p1/t1/A.prepare#1.
func (p point) String() string {
	return fmt.Sprintf("%s/%s/%s.%s#%d", p.process, p.actor, p.place, p.op, p.n)
}

func parsePoint(s string) (point, error) {
	head, n, ok := strings.Cut(s, "#")
	parts := strings.Split(head, "/")
	if !ok || len(parts) != 3 {
		return point{}, fmt.Errorf("point %q: want PROCESS/ACTOR/PLACE.OP#N", s)
	}
	place, op, ok := strings.Cut(parts[2], ".")
	if !ok {
		return point{}, fmt.Errorf("point %q: want PROCESS/ACTOR/PLACE.OP#N", s)
	}
	num, err := strconv.Atoi(n)
	if err != nil {
		return point{}, fmt.Errorf("point %q: %w", s, err)
	}
	return point{parts[0], parts[1], place, op, num}, nil
}

// event is what happens at a point.
type event string

const (
	crashBefore event = "crash-before" // the process ends instead of calling
	crashAfter  event = "crash-after"  // the call acts, and is the last thing that the process does
	powerBefore event = "power-before" // as crash-before, but no server notices: the sessions stay
	powerAfter  event = "power-after"
	lostBefore  event = "lost-before" // the connection breaks; the call does not act
	lostAfter   event = "lost-after"  // the call acts, the answer is lost with the connection
	refused     event = "refused"     // an error, nothing else
	failedAfter event = "failed-after"
	hangBefore  event = "hang-before" // no answer until the context ends; the call does not act
	hangAfter   event = "hang-after"
	restart     event = "restart" // the database restarts before the call
	down        event = "down"    // the same, and is back after downTime only
	vanish      event = "vanish"  // the database's connections break before the call, and it does not notice: the sessions stay

	badConn event = "bad-conn" // of a statement: it acts, and the answer is driver.ErrBadConn, as pgx's can be; nobody may run it again

	// Of Decide. A latched log accepts no more until it is opened again.
	latchNotRecorded event = "latch-not-recorded"
	latchLostBefore  event = "latch-lost-before" // unknown, not recorded
	latchLostAfter   event = "latch-lost-after"  // unknown, recorded

	// Of an operation on the disk of a log in files; with it a crash is the machine's, and what was not synced is gone.
	killAfter event = "kill-after" // the operation acts, and is the last thing that the process does; what it wrote stays
	torn      event = "torn"       // a write leaves half of its bytes, and an error

	// Of a shared log. The process stands still before the call.
	pauseShort event = "pause"      // for less than its lease
	pauseLong  event = "pause-long" // for longer

	// A person finishes the branch at the database before the call.
	handCommit   event = "hand-commit"
	handRollback event = "hand-rollback"
)

// placed is an event at a point.
type placed struct {
	point
	event event
}

func (p placed) String() string { return p.point.String() + "=" + string(p.event) }

// schedule is a shape and the events that happen in it.
type schedule struct {
	shape  shape
	events []placed
}

// String returns what -schedule takes.
func (s schedule) String() string {
	parts := make([]string, len(s.events))
	for i, e := range s.events {
		parts[i] = e.String()
	}
	return s.shape.name + ": " + strings.Join(parts, "; ")
}

func parseSchedule(s string) (schedule, error) {
	name, rest, _ := strings.Cut(s, ":")
	sh, ok := shapeNamed(strings.TrimSpace(name))
	if !ok {
		return schedule{}, fmt.Errorf("schedule %q: no shape is named %q", s, name)
	}
	out := schedule{shape: sh}
	for text := range strings.SplitSeq(rest, ";") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		where, what, ok := strings.Cut(text, "=")
		if !ok {
			return schedule{}, fmt.Errorf("schedule %q: want POINT=EVENT", text)
		}
		p, err := parsePoint(where)
		if err != nil {
			return schedule{}, err
		}
		out.events = append(out.events, placed{p, event(what)})
	}
	return out, nil
}

// effectOps are the operations that leave something behind.
var effectOps = []string{"begin", "prepare", "commit", "commit-one-phase", "rollback", "commit-prepared", "rollback-prepared", "end-session",
	"decide", "settle", "register", "claim", "join", "leave"}

// verb is the operation without the transaction.
func (p point) verb() string {
	verb, _, _ := strings.Cut(p.op, "(")
	return verb
}

// events are those that can happen at the point.
func (s shape) events(p point) []event {
	verb, acts := p.verb(), contains(effectOps, p.verb())
	out := []event{crashBefore}
	if p.place == "disk" {
		if out = append(out, crashAfter, killAfter, refused, failedAfter); verb == "write" {
			out = append(out, torn)
		}
		return out
	}
	if acts {
		out = append(out, crashAfter)
	}
	if s.shared {
		out = append(out, pauseShort, pauseLong)
	}
	if p.place == "log" && s.disk {
		return out // the rest happens at the disk
	}
	if p.place == "log" {
		return append(out, s.logEvents(verb, acts)...)
	}
	switch verb {
	case "statement":
		out = append(out, restart, down, badConn)
	case "connect":
		out = append(out, refused, hangBefore, down)
	default:
		out = append(out, lostBefore, refused, hangBefore, restart, down)
		if acts {
			out = append(out, lostAfter, failedAfter, hangAfter)
		}
	}
	if s.bound() && !s.shared && verb != "connect" {
		out = append(out, powerBefore, vanish)
		if acts {
			out = append(out, powerAfter)
		}
	}
	if s.hand && (verb == "commit" || verb == "rollback" || verb == "commit-prepared" || verb == "rollback-prepared") {
		out = append(out, handCommit, handRollback)
	}
	return out
}

func (s shape) logEvents(verb string, acts bool) []event {
	out := []event{refused, hangBefore}
	if acts {
		out = append(out, hangAfter)
	}
	switch {
	case verb == "decide":
		out = append(out, lostBefore, lostAfter)
		if !s.shared {
			out = append(out, latchNotRecorded, latchLostBefore, latchLostAfter)
		}
	case acts:
		out = append(out, failedAfter)
	}
	return out
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
