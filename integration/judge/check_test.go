package judge

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// books returns two databases in which t-1 moved 5 from a to b, told as committed, t-2 is nowhere, told as rolled back, t-3 moved 7 within b, and its
// maker was killed before it knew.
func books() (map[string]Book, Told) {
	b := map[string]Book{}
	for _, name := range []string{"a", "b"} {
		b[name] = Book{Entries: map[string][]Entry{}, Balances: map[int]int64{}}
		for i := range Accounts {
			b[name].Balances[i] = Initial
		}
	}
	told := Told{Transfers: map[string]*Transfer{
		"t-1": {[]Entry{{"a", 3, -5}, {"b", 4, 5}}, Committed},
		"t-2": {[]Entry{{"a", 3, -6}, {"b", 4, 6}}, RolledBack},
		"t-3": {[]Entry{{"b", 9, 7}, {"b", 2, -7}}, Begun},
		"t-4": {nil, Committed}, // it only read
	}}
	for _, id := range []string{"t-1", "t-3"} {
		for _, e := range told.Transfers[id].Plan {
			put(b, id, e)
		}
	}
	return b, told
}

func put(b map[string]Book, id string, e Entry) {
	b[e.Resource].Entries[id] = append(b[e.Resource].Entries[id], e)
	b[e.Resource].Balances[e.Account] += e.Delta
}

func take(b map[string]Book, id, resource string) {
	for _, e := range b[resource].Entries[id] {
		b[resource].Balances[e.Account] -= e.Delta
	}
	delete(b[resource].Entries, id)
}

func TestCheckFindsEveryContradictionAndNoOther(t *testing.T) {
	for name, c := range map[string]struct {
		falsify func(books map[string]Book, told Told)
		want    []string
	}{
		"nothing":                              {func(map[string]Book, Told) {}, nil},
		"killed before it was told, and there": {func(_ map[string]Book, told Told) { told.Transfers["t-1"].Outcome = Begun }, nil},
		"killed before it was told, and not":   {func(books map[string]Book, _ Told) { take(books, "t-3", "b") }, nil},
		"unknown, and there":                   {func(_ map[string]Book, told Told) { told.Transfers["t-1"].Outcome = Unknown }, nil},
		"unknown, and not":                     {func(_ map[string]Book, told Told) { told.Transfers["t-2"].Outcome = Unknown }, nil},
		"one half of what was acknowledged is lost": {func(books map[string]Book, _ Told) { take(books, "t-1", "a") }, []string{
			"all databases: hold 128005 together, want 128000",
			"t-1: is not there as a whole (it was told as committed): there is b:4:5 of a:3:-5 b:4:5"}},
		"one half of what nobody knows is lost": {func(books map[string]Book, told Told) {
			told.Transfers["t-1"].Outcome = Begun
			take(books, "t-1", "b")
		}, []string{
			"all databases: hold 127995 together, want 128000",
			"t-1: is not there as a whole (it was told as begun): there is a:3:-5 of a:3:-5 b:4:5"}},
		"half of what one database was to hold": {func(books map[string]Book, _ Told) {
			books["b"].Entries["t-3"] = books["b"].Entries["t-3"][:1]
			books["b"].Balances[2] += 7
		}, []string{
			"all databases: hold 128007 together, want 128000",
			"t-3: is not there as a whole (it was told as begun): there is b:9:7 of b:2:-7 b:9:7"}},
		"acknowledged and lost": {func(books map[string]Book, _ Told) { take(books, "t-1", "a"); take(books, "t-1", "b") },
			[]string{"t-1: was acknowledged as committed, and is nowhere"}},
		"rolled back and there": {func(books map[string]Book, told Told) {
			for _, e := range told.Transfers["t-2"].Plan {
				put(books, "t-2", e)
			}
		}, []string{"t-2: was acknowledged as rolled back, and there is a:3:-6 b:4:6"}},
		"rolled back and half there": {func(books map[string]Book, _ Told) { put(books, "t-2", Entry{"b", 4, 6}) }, []string{
			"all databases: hold 128006 together, want 128000",
			"t-2: was acknowledged as rolled back, and there is b:4:6"}},
		"nobody's": {func(books map[string]Book, _ Told) {
			put(books, "t-9", Entry{"a", 1, 1})
			put(books, "t-9", Entry{"b", 1, -1})
		}, []string{"t-9: nobody began it, and there are 2 entries of it: a:1:1 b:1:-1"}},
		"written by one that only reads": {func(books map[string]Book, _ Told) {
			put(books, "t-4", Entry{"a", 1, 1})
			put(books, "t-4", Entry{"b", 1, -1})
		}, []string{"t-4: is not there as a whole (it was told as committed): there is a:1:1 b:1:-1 of "}},
		"wrong amounts that add up": {func(books map[string]Book, _ Told) {
			take(books, "t-1", "a")
			take(books, "t-1", "b")
			put(books, "t-1", Entry{"a", 3, -4})
			put(books, "t-1", Entry{"b", 4, 4})
		}, []string{"t-1: is not there as a whole (it was told as committed): there is a:3:-4 b:4:4 of a:3:-5 b:4:5"}},
		"another account": {func(books map[string]Book, _ Told) {
			take(books, "t-1", "b")
			put(books, "t-1", Entry{"b", 5, 5})
		}, []string{"t-1: is not there as a whole (it was told as committed): there is a:3:-5 b:5:5 of a:3:-5 b:4:5"}},
		"an entry too many": {func(books map[string]Book, _ Told) {
			put(books, "t-1", Entry{"a", 7, 1})
			put(books, "t-1", Entry{"b", 7, -1})
		}, []string{"t-1: is not there as a whole (it was told as committed): there is a:3:-5 a:7:1 b:4:5 b:7:-1 of a:3:-5 b:4:5"}},
		"an entry without its balance": {func(books map[string]Book, _ Told) { books["b"].Balances[4] = Initial }, []string{
			"b: account 4 holds 1000, its entries make 1005",
			"all databases: hold 127995 together, want 128000"}},
		"balances changed against each other": {func(books map[string]Book, _ Told) { books["a"].Balances[1]++; books["b"].Balances[1]-- }, []string{
			"a: account 1 holds 1001, its entries make 1000", "b: account 1 holds 999, its entries make 1000"}},
		"an account is gone": {func(books map[string]Book, _ Told) { delete(books["a"].Balances, 9) }, []string{
			"a: account 9 holds 0, its entries make 1000", "a: has 63 accounts, want 64", "all databases: hold 127000 together, want 128000"}},
		"heuristic":               {func(_ map[string]Book, told Told) { told.Transfers["t-1"].Outcome = Heuristic }, []string{"t-1: was told as a heuristic outcome"}},
		"a plan that makes money": {func(_ map[string]Book, told Told) { told.Transfers["t-2"].Plan[0].Delta = 1 }, []string{"t-2: its amounts add up to 7, want 0"}},
		"a database unheard of":   {func(_ map[string]Book, told Told) { told.Transfers["t-2"].Plan[0].Resource = "c" }, []string{`t-2: writes to "c", which is none of the databases`}},
	} {
		t.Run(name, func(t *testing.T) {
			books, told := books()
			c.falsify(books, told)
			var got []string
			for _, v := range Check(books, told) {
				got = append(got, v.String())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestLineThatWasNotFinishedWasNotTold(t *testing.T) {
	told := Told{Transfers: map[string]*Transfer{}}
	if err := told.read(strings.NewReader("1 log abc\n2 begun t-1 a:1:5 b:2:-5\n3 begun t-2\n4 committed t-1\n5 committed t-")); err != nil {
		t.Fatal(err)
	}
	if len(told.Transfers) != 2 || told.Transfers["t-1"].Outcome != Committed || told.Transfers["t-2"].Outcome != Begun || !slices.Equal(told.Logs, []string{"abc"}) {
		t.Errorf("got %+v", told)
	}
	if got := told.Transfers["t-1"].Plan; !slices.Equal(got, []Entry{{"a", 1, 5}, {"b", 2, -5}}) {
		t.Errorf("got the plan %v", got)
	}
}

func TestWhatWasToldAndIsDamagedProvesNothing(t *testing.T) {
	for name, text := range map[string]string{
		"a line is missing":        "1 begun t-1\n3 committed t-1\n",
		"a line was added":         "1 begun t-1\n1 begun t-2\n2 committed t-1\n",
		"the beginning is missing": "2 begun t-1\n",
		"a word is missing":        "1 begun\n",
		"no outcome":               "1 begun t-1\n2 perhaps t-1\n",
		"no entry":                 "1 begun t-1 a:1\n",
		"no account":               "1 begun t-1 a:x:1\n",
		"no amount":                "1 begun t-1 a:1:x\n",
	} {
		if err := (&Told{Transfers: map[string]*Transfer{}}).read(strings.NewReader(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestWhatContradictsItselfIsAViolation(t *testing.T) {
	for text, want := range map[string]string{
		"1 begun t-1\n2 committed t-1\n3 rolled-back t-1\n": "t-1: has ended as rolled-back, and as committed before",
		"1 begun t-1\n2 begun t-1\n":                        "t-1: was begun twice",
		"1 committed t-1\n":                                 "t-1: has ended as committed, and was never begun",
	} {
		told := Told{Transfers: map[string]*Transfer{}}
		if err := told.read(strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		if got := Check(map[string]Book{}, told); len(got) != 1 || got[0].String() != want {
			t.Errorf("got %v, want %q", got, want)
		}
	}
}

// The judge must not err with those whom it judges.
func TestJudgeSharesNoCodeWithWhatItJudges(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(name, "github.com/xasql/") && name != "github.com/xasql/xasql/integration/judge" {
			t.Errorf("it depends on %s", name)
		}
	}
}

// sqlites makes two databases and a directory for what is told.
func sqlites(t *testing.T) (databases []Database, dir string) {
	t.Helper()
	root := t.TempDir()
	dir = filepath.Join(root, "told")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		d := Database{name, "sqlite:" + filepath.Join(root, name+".db")}
		if err := Create(t.Context(), d, "run"); err != nil {
			t.Fatal(err)
		}
		databases = append(databases, d)
	}
	return databases, dir
}

func exec1(t *testing.T, d Database, statements ...string) {
	t.Helper()
	db, err := d.open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := execAll(t.Context(), db, statements...); err != nil {
		t.Fatal(err)
	}
}

func TestJudgeReadsWhatIsThereAndWhatWasTold(t *testing.T) {
	databases, dir := sqlites(t)
	teller, err := NewTeller(filepath.Join(dir, "w0"))
	if err != nil {
		t.Fatal(err)
	}
	defer teller.Close()
	for _, err := range []error{
		teller.Log("abc"), teller.Begin("t-1", []Entry{{"a", 3, -5}, {"b", 4, 5}}), teller.Begin("t-2", nil), teller.End("t-1", Committed),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, d := range databases {
		delta := -5 + 10*i
		exec1(t, d, fmt.Sprintf("insert into %s values ('t-1', %d, %d)", EntriesTable, 3+i, delta),
			fmt.Sprintf("update %s set balance = balance + (%d) where id = %d", AccountsTable, delta, 3+i),
			"create table _xa_prepared (xid text)")
	}
	v, err := Judge(t.Context(), databases, dir, 0)
	if err != nil || len(v.Violations) > 0 || v.Transfers != 2 || v.Written != 1 || v.Entries != 2 || v.Outcomes[Committed] != 1 || v.Outcomes[Begun] != 1 {
		t.Errorf("got %+v, %v", v, err)
	}
	exec1(t, databases[1], "insert into _xa_prepared values ('abc.01J/b'), ('xyz.01J/b')")
	v, err = Judge(t.Context(), databases, dir, 0)
	if err != nil || len(v.Violations) != 1 || v.Violations[0].String() != `b: "abc.01J/b" is still prepared after 0s` {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestWhatIsNotTheRunsIsNeitherUsedNorDropped(t *testing.T) {
	databases, _ := sqlites(t)
	if err := Create(t.Context(), databases[0], "again"); err == nil || !strings.Contains(err.Error(), "-clean") {
		t.Errorf("a second run: got %v", err)
	}
	other := Database{"c", "sqlite:" + filepath.Join(t.TempDir(), "c.db")}
	exec1(t, other, "create table "+EntriesTable+" (x int)", "create table orders (x int)")
	if err := Create(t.Context(), other, "run"); err == nil {
		t.Error("a table of that name that is somebody's: no error")
	}
	if dropped, err := Drop(t.Context(), other, nil); len(dropped) > 0 || err != nil {
		t.Errorf("dropped %v, %v of what is somebody's", dropped, err)
	}
	dropped, err := Drop(t.Context(), databases[0], nil)
	if err != nil || !slices.Equal(dropped, []string{AccountsTable, EntriesTable, MadeTable}) {
		t.Errorf("dropped %v, %v", dropped, err)
	}
	if err := Create(t.Context(), databases[0], "again"); err != nil {
		t.Errorf("after they were dropped: %v", err)
	}
}

func TestLogThatIsSomebodysIsNotTaken(t *testing.T) {
	d := Database{"log", "sqlite:" + filepath.Join(t.TempDir(), "log.db")}
	exec1(t, d, "create table xasql_log (id text)")
	if err := ClaimLog(t.Context(), d, "run"); err == nil {
		t.Error("no error")
	}
	if dropped, err := Drop(t.Context(), d, nil); len(dropped) > 0 || err != nil {
		t.Errorf("dropped %v, %v", dropped, err)
	}
	exec1(t, d, "drop table xasql_log")
	if err := ClaimLog(t.Context(), d, "run"); err != nil {
		t.Fatal(err)
	}
	exec1(t, d, "create table xasql_log (id text)", "create table xasql_resource (name text)", "insert into xasql_resource values ('a'), ('orders')")
	if dropped, err := Drop(t.Context(), d, []string{"a"}); len(dropped) > 0 || err == nil {
		t.Errorf("dropped %v, %v of a log that is used for other databases too", dropped, err)
	}
	if dropped, err := Drop(t.Context(), d, []string{"a", "orders"}); len(dropped) != 3 || err != nil {
		t.Errorf("dropped %v, %v", dropped, err)
	}
}
