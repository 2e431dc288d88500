package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xasql/xasql/txlog"
)

// Log is a decision log in tables of a database. It implements [txlog.Log], [txlog.Registrar], [txlog.Shared], [txlog.Historian],
// [txlog.Compactor] and [txlog.Notes]. All methods are safe for concurrent use.
type Log struct {
	dialect Dialect
	grammar *grammar
	opts    Options
	id      string

	writer *session // decisions, and nothing else
	side   *session // everything else; SQLite: the same

	calls   sync.WaitGroup  // methods that are under way
	beside  sync.WaitGroup  // the goroutines below
	ctx     context.Context // of what the goroutines do for the log's own sake; ended by Close
	end     context.CancelFunc
	closing chan struct{}
	decided chan struct{} // wakes the writer
	settled chan struct{} // wakes the keeper
	noting  chan struct{} // is full while somebody notes what was settled

	mu      sync.Mutex // guards what follows
	closed  bool
	queue   []*item
	pending map[string]*item // queued, or being written
	unknown map[string]doubt // decisions of which nobody knows whether they were recorded
	settles []string         // IDs that are to be noted as settled
	members map[*member]bool // of this opening
	renews  bool             // the goroutine that renews leases runs
	paused  bool             // it renews nothing
}

var (
	_ txlog.Log       = (*Log)(nil)
	_ txlog.Registrar = (*Log)(nil)
	_ txlog.Shared    = (*Log)(nil)
	_ txlog.Historian = (*Log)(nil)
	_ txlog.Compactor = (*Log)(nil)
	_ txlog.Notes     = (*Log)(nil)
)

// ID returns the log's identity: 12 random lower-case letters and digits, made when the log was created.
func (l *Log) ID() string { return l.id }

// begin notes that a method is under way, and returns what ends it; or why it can't be.
func (l *Log) begin(writes bool) (end func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refusal(writes); err != nil {
		return nil, err
	}
	l.calls.Add(1)
	return l.calls.Done, nil
}

// refusal returns why a method can't work at all, or nil. l.mu is held.
func (l *Log) refusal(writes bool) error {
	switch {
	case l.closed:
		return txlog.ErrClosed
	case writes && l.opts.ReadOnly:
		return txlog.ErrReadOnly
	}
	return nil
}

// Lookup returns the outcome that stands; Undecided only when it is certain that none does. While a decision of the ID is being written it
// waits for the end of that. It is an error when the outcome of a Decide of this opening is not known yet.
func (l *Log) Lookup(ctx context.Context, id string) (txlog.Outcome, error) {
	o, err := l.lookup(ctx, id)
	if err != nil {
		return txlog.Undecided, fmt.Errorf("sqllog: lookup %q: %w", id, err)
	}
	return o, nil
}

func (l *Log) lookup(ctx context.Context, id string) (txlog.Outcome, error) {
	end, err := l.begin(false)
	if err != nil {
		return 0, err
	}
	defer end()
	l.mu.Lock()
	p := l.pending[id]
	l.mu.Unlock()
	if p != nil {
		select {
		case <-p.done:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	// Before the database is asked: what is found out meanwhile is then found there.
	doubt := l.doubt(id)
	var o txlog.Outcome
	err = l.side.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
		var text string
		err := conn.QueryRowContext(ctx, l.grammar.text("SELECT outcome FROM xasql_decision WHERE id = ?"), encode(id)).Scan(&text)
		if errors.Is(err, sql.ErrNoRows) {
			o = txlog.Undecided
			return nil
		}
		if err == nil {
			o, err = parseOutcome(text)
		}
		if err == nil && o == txlog.Committed {
			err = l.secure(ctx, conn)
		}
		return err
	})
	if err == nil && o == txlog.Undecided && doubt != nil {
		err = doubt
	}
	return o, err
}

// secure returns when everything is durable that the connection has read so far: who acts on a decision that a crash
// then loses has finished half a transaction.
func (l *Log) secure(ctx context.Context, conn *sql.Conn) error {
	if l.grammar.barrier == "" || l.opts.ReadOnly {
		return nil
	}
	_, err := conn.ExecContext(ctx, l.grammar.barrier)
	return err
}

// Register notes durably that the resource is the database of this identity, in place of what was noted before.
func (l *Log) Register(ctx context.Context, resource, identity string) error {
	if err := l.register(ctx, resource, identity); err != nil {
		return fmt.Errorf("sqllog: register %q: %w", resource, err)
	}
	return nil
}

func (l *Log) register(ctx context.Context, resource, identity string) error {
	end, err := l.begin(true)
	if err != nil {
		return err
	}
	defer end()
	name, err := key(resource)
	if err != nil {
		return err
	}
	var known string
	err = l.side.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
		return l.grammar.alone(ctx, conn, func() error {
			err := conn.QueryRowContext(ctx, l.grammar.text("SELECT identity FROM xasql_resource WHERE name = ?"), name).Scan(&known)
			switch {
			case errors.Is(err, sql.ErrNoRows):
				known = ""
				_, err = conn.ExecContext(ctx, l.grammar.text("INSERT INTO xasql_resource (name, identity) VALUES (?, ?)"), name, encode(identity))
			case err == nil && known != encode(identity):
				_, err = conn.ExecContext(ctx, l.grammar.text("UPDATE xasql_resource SET identity = ? WHERE name = ?"), encode(identity), name)
			}
			return err
		})
	})
	if err == nil && known != "" && known != encode(identity) {
		l.opts.Logger.Warn("a resource's name stands for another database now", "resource", resource, "was", decode(known), "is", identity)
	}
	return err
}

// Registered returns the identity that was noted, or "" where none was.
func (l *Log) Registered(ctx context.Context, resource string) (string, error) {
	end, err := l.begin(false)
	if err != nil {
		return "", fmt.Errorf("sqllog: registered %q: %w", resource, err)
	}
	defer end()
	var identity string
	err = l.side.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
		err := conn.QueryRowContext(ctx, l.grammar.text("SELECT identity FROM xasql_resource WHERE name = ?"), encode(resource)).Scan(&identity)
		if errors.Is(err, sql.ErrNoRows) {
			identity, err = "", nil
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("sqllog: registered %q: %w", resource, err)
	}
	return decode(identity), nil
}

// Close waits for the calls that are under way, notes what was settled, ends the members, and gives its connections back to
// the database, not to the pool. The pool stays open. An error means that some decisions may be unsettled when the log is
// opened again, or that others must wait for a lease to end; it is closed nonetheless.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	l.calls.Wait()
	close(l.closing)
	l.end()
	l.beside.Wait()
	err := l.finish()
	l.side.close()
	if l.writer != l.side {
		l.writer.close()
	}
	if err != nil {
		return fmt.Errorf("sqllog: close: %w", err)
	}
	return nil
}

// finish does what is left when nobody else uses the log any more.
func (l *Log) finish() error {
	if l.opts.ReadOnly {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.opts.limit)
	defer cancel()
	return errors.Join(l.flush(ctx), l.leaveAll(ctx))
}

// encode makes a text of any bytes fit for every database's idea of text, and for a list with blanks: what an ID or a resource's name usually
// holds stays as it is, everything else becomes %XX.
func encode(s string) string { return url.PathEscape(s) }

// decode undoes encode. What encode has not written is left as it is.
func decode(s string) string {
	if d, err := url.PathUnescape(s); err == nil {
		return d
	}
	return s
}

const maxKeyLen = 255

// key encodes what is a table's key.
func key(s string) (string, error) {
	k := encode(s)
	switch {
	case k == "":
		return "", errors.New("the name is empty")
	case len(k) > maxKeyLen:
		return "", fmt.Errorf("the name takes %d bytes: the limit is %d", len(k), maxKeyLen)
	}
	return k, nil
}

func parseOutcome(text string) (txlog.Outcome, error) {
	for _, o := range []txlog.Outcome{txlog.Committed, txlog.Aborted} {
		if o.String() == text {
			return o, nil
		}
	}
	return 0, fmt.Errorf("%w: xasql_decision holds the outcome %q", txlog.ErrCorrupt, text)
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// encodeList and decodeList write a list of texts, none of them empty, with blanks between them.
func encodeList(names []string) string {
	coded := make([]string, len(names))
	for i, n := range names {
		coded[i] = encode(n)
	}
	return strings.Join(coded, " ")
}

// encodeEvidence returns "" where there is none, or none that matches the resources.
func encodeEvidence(d txlog.Decision) string {
	if d.Outcome != txlog.Committed || len(d.Evidence) != len(d.Resources) || !slices.ContainsFunc(d.Evidence, func(e string) bool { return e != "" }) {
		return ""
	}
	return encodeList(d.Evidence)
}

// decodeEvidence undoes encodeEvidence. What was not made for so many resources is none.
func decodeEvidence(s string, resources int) []string {
	texts := strings.Split(s, " ")
	if s == "" || len(texts) != resources {
		return nil
	}
	for i, e := range texts {
		texts[i] = decode(e)
	}
	return texts
}

func decodeList(s string) []string {
	names := strings.Fields(s)
	for i, n := range names {
		names[i] = decode(n)
	}
	return names
}
