package judge

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// logLine tells the identity of a log, whose branches are then looked for.
const logLine = "log"

// Entry is what a transfer writes into one database for one account.
type Entry struct {
	Resource string
	Account  int
	Delta    int64 // of the account's balance
}

// Transfer is what was told of one.
type Transfer struct {
	Plan    []Entry // what it was going to write; none: it only reads
	Outcome Outcome
}

// Teller writes what the maker of transfers knows, as numbered lines in a file of its own. Each line goes with one write: who is killed
// after a call has returned has told it. Its methods are safe for concurrent use.
type Teller struct {
	mu   sync.Mutex // guards all below
	file *os.File
	line int
}

// NewTeller makes the file, which must not exist.
func NewTeller(path string) (*Teller, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	return &Teller{file: f}, nil
}

// Log tells which log's branches are the teller's.
func (t *Teller) Log(id string) error { return t.tell(logLine, id) }

// Begin tells that a transfer begins, and all that it is going to write.
func (t *Teller) Begin(id string, plan []Entry) error {
	return t.tell(string(Begun), strings.TrimSpace(id+" "+text(plan)))
}

// End tells how a transfer ended.
func (t *Teller) End(id string, o Outcome) error { return t.tell(string(o), id) }

// Close closes the file.
func (t *Teller) Close() error { return t.file.Close() }

func (t *Teller) tell(words ...string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line++
	_, err := io.WriteString(t.file, strconv.Itoa(t.line)+" "+strings.Join(words, " ")+"\n")
	return err
}

// Told is everything that was told.
type Told struct {
	Transfers map[string]*Transfer // by ID
	Logs      []string             // identities
	Lies      []Violation          // what contradicts itself
}

// ReadTold reads all files of a directory. A file that has lost lines is an error.
func ReadTold(dir string) (Told, error) {
	told := Told{Transfers: map[string]*Transfer{}}
	files, err := os.ReadDir(dir)
	if err != nil {
		return told, fmt.Errorf("judge: %w", err)
	}
	for _, entry := range files {
		f, err := os.Open(filepath.Join(dir, entry.Name()))
		if err != nil {
			return told, fmt.Errorf("judge: %w", err)
		}
		err = told.read(f)
		f.Close()
		if err != nil {
			return told, fmt.Errorf("judge: %s: %w", f.Name(), err)
		}
	}
	return told, nil
}

// ReadLogs reads only the identities of the logs, which stand at the beginning of each file.
func ReadLogs(dir string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	var logs []string
	for _, entry := range files {
		f, err := os.Open(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("judge: %w", err)
		}
		line, _ := bufio.NewReader(f).ReadString('\n')
		f.Close()
		if words := strings.Fields(line); len(words) == 3 && words[1] == logLine && !slices.Contains(logs, words[2]) {
			logs = append(logs, words[2])
		}
	}
	return logs, nil
}

// read adds what one file tells. A last line without its end was never told.
func (t *Told) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		words := strings.Fields(line)
		if len(words) < 3 {
			return fmt.Errorf("line %d tells nothing: %q", n, line)
		}
		if words[0] != strconv.Itoa(n) {
			return fmt.Errorf("line %d has the number %q: lines are missing or were added", n, words[0])
		}
		if err := t.take(words[1], words[2], words[3:]); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
}

func (t *Told) take(word, id string, rest []string) error {
	transfer := t.Transfers[id]
	switch o := Outcome(word); {
	case word == logLine:
		if !slices.Contains(t.Logs, id) {
			t.Logs = append(t.Logs, id)
		}
	case o == Begun && transfer != nil:
		t.Lies = append(t.Lies, Violation{id, "was begun twice"})
	case o == Begun:
		plan, err := readPlan(rest)
		if err != nil {
			return err
		}
		t.Transfers[id] = &Transfer{plan, Begun}
	case !slices.Contains([]Outcome{Committed, RolledBack, Unknown, Heuristic}, o):
		return fmt.Errorf("%q is no outcome", word)
	case transfer == nil:
		t.Lies = append(t.Lies, Violation{id, "has ended as " + word + ", and was never begun"})
	case transfer.Outcome != Begun:
		t.Lies = append(t.Lies, Violation{id, fmt.Sprintf("has ended as %s, and as %s before", o, transfer.Outcome)})
	default:
		transfer.Outcome = o
	}
	return nil
}

func readPlan(words []string) ([]Entry, error) {
	var plan []Entry
	for _, word := range words {
		parts := strings.Split(word, ":")
		if len(parts) != 3 {
			return nil, fmt.Errorf("%q is no entry", word)
		}
		account, err := strconv.Atoi(parts[1])
		if err != nil {
			return nil, fmt.Errorf("%q is no entry: %w", word, err)
		}
		delta, err := strconv.ParseInt(parts[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no entry: %w", word, err)
		}
		plan = append(plan, Entry{parts[0], account, delta})
	}
	return plan, nil
}
