package ledger

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Outcome is what the maker of a transfer was told of it.
type Outcome string

// Of a transfer that was begun and never told of afterwards, the outcome is Begun: its maker was killed.
const (
	Begun      Outcome = "begun"
	Committed  Outcome = "committed"
	RolledBack Outcome = "rolled-back"
	Unknown    Outcome = "unknown"
	Heuristic  Outcome = "heuristic"
)

// Tell writes the outcome of a transfer as one line, in one write: whoever is killed afterwards has told it.
func Tell(w io.Writer, id string, o Outcome) error {
	_, err := io.WriteString(w, string(o)+" "+id+"\n")
	return err
}

// Told is the last that was told of each transfer, by ID.
type Told map[string]Outcome

// Read adds what was told. A last line without its end was never told.
func (t Told) Read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ledger: read what was told: %w", err)
		}
		o, id, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch Outcome(o) {
		case Begun, Committed, RolledBack, Unknown, Heuristic:
		default:
			ok = false
		}
		if !ok {
			return fmt.Errorf("ledger: line %q tells nothing of a transfer", line)
		}
		t[id] = Outcome(o)
	}
}
