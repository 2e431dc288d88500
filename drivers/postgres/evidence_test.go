package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
)

func TestOnlyOurOwnEvidenceIsRead(t *testing.T) {
	for text, want := range map[string]evidence{
		"7711047390933446680.1/739":     {cluster: "7711047390933446680", timeline: "00000001", txid: 739},
		"7711047390933446680.1F/739":    {cluster: "7711047390933446680", timeline: "0000001F", txid: 739},
		"1.1/18446744073709551615":      {cluster: "1", timeline: "00000001", txid: 1<<64 - 1},
		"@1732295000123456/3":           {start: "1732295000123456", txid: 3},
		"":                              {},
		"739":                           {},
		"/739":                          {},
		"1.1":                           {},
		"1.1/":                          {},
		"1.1/2":                         {}, // counts as committed, whatever it was
		"1.1/-4":                        {},
		"1.1/18446744073709551616":      {},
		"1.1/739 ":                      {},
		"1.1/739'":                      {},
		"1'.1/739":                      {},
		"1.1'/739":                      {},
		"1.g/739":                       {},
		"1.1234567890/739":              {},
		".1/739":                        {},
		"1./739":                        {},
		"1/739":                         {},
		"@/739":                         {},
		"@1'/739":                       {},
		"@1.5/739":                      {},
		"branch 7 of another database":  {},
		"1.1/739'; DROP TABLE item; --": {},
	} {
		got, ok := parseEvidence(text)
		if ok != (want != evidence{}) || ok && got != want {
			t.Errorf("parseEvidence(%q) = %+v, %v", text, got, ok)
		}
	}
}

func FuzzEvidence(f *testing.F) {
	f.Add("7711047390933446680.1/739")
	f.Add("@1732295000123456/3")
	f.Fuzz(func(t *testing.T, text string) {
		e, ok := parseEvidence(text)
		if !ok {
			return
		}
		if s := e.cluster + e.timeline + e.start; strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune("0123456789ABCDEF", r) }) {
			t.Errorf("%q becomes part of a statement as %+v", text, e)
		}
	})
}

// What the server answers decides; a branch is proven only by an answer about this very transaction.
func TestProofNeedsAnAnswerAboutThisTransaction(t *testing.T) {
	for name, c := range map[string]struct {
		evidence          string
		fate              string
		same              bool
		err               error
		committed, proven bool
		fails             bool
	}{
		"committed":                       {evidence: "1.1/739", fate: "committed", same: true, committed: true, proven: true},
		"aborted":                         {evidence: "1.1/739", fate: "aborted", same: true, proven: true},
		"in progress":                     {evidence: "1.1/739", fate: "in progress", same: true},
		"too old, or another cluster":     {evidence: "1.1/739", fate: "", same: true},
		"committed in another timeline":   {evidence: "1.1/739", fate: "committed"},
		"aborted in another timeline":     {evidence: "1.1/739", fate: "aborted"},
		"the ID was not given out":        {evidence: "1.1/739", err: coded("22023"), proven: true},
		"the role may not ask":            {evidence: "1.1/739", err: coded("42501")},
		"the server refuses":              {evidence: "1.1/739", err: coded("53300"), fails: true},
		"no answer":                       {evidence: "1.1/739", err: errors.New("connection reset"), fails: true},
		"a later version's word":          {evidence: "1.1/739", fate: "sub-committed", same: true},
		"no evidence":                     {evidence: "", fate: "committed", same: true},
		"another's evidence":              {evidence: "branch 7", fate: "committed", same: true},
		"committed in this run":           {evidence: "@17/739", fate: "committed", same: true, committed: true, proven: true},
		"evidence of another run, or old": {evidence: "@17/739", fate: "", same: true},
	} {
		db := sql.OpenDB(answers{c.fate, c.same, c.err})
		committed, proven, err := New().Outcome(t.Context(), db, drivers.XID{}, c.evidence)
		if committed != c.committed || proven != c.proven || (err != nil) != c.fails {
			t.Errorf("%s: committed %v, proven %v, %v", name, committed, proven, err)
		}
		db.Close()
	}
}

// coded is an error with an SQLSTATE.
type coded string

func (c coded) Error() string    { return "code " + string(c) }
func (c coded) SQLState() string { return string(c) }

// answers is a server that has one answer to every question.
type answers struct {
	fate string
	same bool
	err  error
}

func (a answers) Connect(context.Context) (driver.Conn, error) { return a, nil }
func (a answers) Driver() driver.Driver                        { return nil }
func (a answers) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("not asked for") }
func (a answers) Begin() (driver.Tx, error)                    { return nil, errors.New("not asked for") }
func (a answers) Close() error                                 { return nil }

func (a answers) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	if a.err != nil {
		return nil, a.err
	}
	return &oneRow{values: []driver.Value{a.fate, a.same}}, nil
}

// oneRow is the answer.
type oneRow struct{ values []driver.Value }

func (r *oneRow) Columns() []string { return []string{"fate", "same"} }
func (r *oneRow) Close() error      { return nil }

func (r *oneRow) Next(dest []driver.Value) error {
	if r.values == nil {
		return io.EOF
	}
	copy(dest, r.values)
	r.values = nil
	return nil
}
