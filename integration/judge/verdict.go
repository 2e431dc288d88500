package judge

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Verdict is what a judgement found.
type Verdict struct {
	Violations []Violation     `json:"violations"`
	Transfers  int             `json:"transfers"` // of which anything was told
	Outcomes   map[Outcome]int `json:"outcomes"`  // how many were told so
	Written    int             `json:"written"`   // how many the databases hold
	Entries    int             `json:"entries"`   // of how many entries
	Waited     time.Duration   `json:"waited"`    // until nothing was prepared
}

// Judge waits, as long as patience says, until no database holds a prepared branch of the logs that were told of, and compares. A branch
// that is still there then is a violation. Nobody must make transfers meanwhile; who recovers may. An error means that nothing was proved.
func Judge(ctx context.Context, databases []Database, toldDir string, patience time.Duration) (Verdict, error) {
	v := Verdict{Outcomes: map[Outcome]int{}}
	told, err := ReadTold(toldDir)
	if err != nil {
		return v, err
	}
	begun := time.Now()
	if v.Violations, err = awaitNonePrepared(ctx, databases, told.Logs, patience); err != nil {
		return v, err
	}
	v.Waited = time.Since(begun)
	books := map[string]Book{}
	written := map[string]bool{}
	for _, d := range databases {
		book, err := d.Book(ctx)
		if err != nil {
			return v, err
		}
		books[d.Name] = book
		for id, entries := range book.Entries {
			written[id] = true
			v.Entries += len(entries)
		}
	}
	v.Written, v.Transfers = len(written), len(told.Transfers)
	for _, t := range told.Transfers {
		v.Outcomes[t.Outcome]++
	}
	v.Violations = append(v.Violations, Check(books, told)...)
	return v, nil
}

// awaitNonePrepared returns when all databases, twice in a row, hold no branch of the logs: what moves from one to the next while they are asked
// is then seen in one of the two. After the time is over it returns what is left.
func awaitNonePrepared(ctx context.Context, databases []Database, logs []string, patience time.Duration) ([]Violation, error) {
	ctx, cancel := context.WithTimeout(ctx, patience+time.Minute) // one that hangs is an error
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	limit := time.Now().Add(patience)
	for empty := 0; ; <-tick.C {
		left, err := prepared(ctx, databases, logs)
		if empty++; err != nil || len(left) > 0 {
			empty = 0
		}
		switch {
		case empty == 2:
			return nil, nil
		case empty > 0 || time.Now().Before(limit):
		case err != nil:
			return nil, fmt.Errorf("after %v: %w", patience, err)
		default:
			for i := range left {
				left[i].What += fmt.Sprintf(" after %v", patience)
			}
			return left, nil
		}
	}
}

func prepared(ctx context.Context, databases []Database, logs []string) ([]Violation, error) {
	var left []Violation
	var errs []error
	for _, d := range databases {
		xids, err := d.Prepared(ctx, logs)
		if err != nil {
			errs = append(errs, err)
		}
		for _, xid := range xids {
			left = append(left, Violation{d.Name, fmt.Sprintf("%q is still prepared", xid)})
		}
	}
	return left, errors.Join(errs...)
}
