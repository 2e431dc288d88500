package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/xasql/xasql/integration/judge"
	"github.com/xasql/xasql/internal/connect"
)

// report is what -json writes.
type report struct {
	Seed       uint64         `json:"seed"`
	Directory  string         `json:"directory"`
	Began      time.Time      `json:"began"`
	Seconds    int            `json:"seconds"`
	Databases  []string       `json:"databases"`
	Log        string         `json:"log"`
	Faults     map[string]int `json:"faults"`
	Verdict    judge.Verdict  `json:"verdict"`
	Violations []string       `json:"violations"`
	Flatness   []series       `json:"flatness"`
}

// announce says what is going to happen.
func (r *run) announce() {
	fmt.Printf("torture: seed %d, %v, faults: %s\n", r.o.seed, r.o.duration, cmp.Or(strings.Join(r.o.faults, ", "), "none"))
	fmt.Printf("torture: made tables %s and %s in %s; the log is %s\n", judge.AccountsTable, judge.EntriesTable, strings.Join(names(r.arena.databases), ", "), r.logText())
	if r.o.recover == "" {
		fmt.Println("torture: no xa-recover beside this program or in the PATH: its recoveries are left out")
	}
	fmt.Printf("torture: what the workers are told, and their own logs: %s\n", r.dir)
}

func (r *run) logText() string {
	if r.arena.log == "" {
		return "in files, one for each worker"
	}
	return "in a database, shared by the workers"
}

// observe prints a line now and then, and takes samples of the worker that is never killed.
func (r *run) observe(ctx context.Context) {
	progress, second := time.NewTicker(r.o.progress), time.NewTicker(time.Second)
	defer progress.Stop()
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-second.C:
			r.takeSample()
		case <-progress.C:
			fmt.Println(r.line(ctx))
		}
	}
}

// line tells how it is going.
func (r *run) line(ctx context.Context) string {
	var transactions, acknowledged int64
	for _, s := range r.slots {
		t, a := s.totals()
		transactions, acknowledged = transactions+t, acknowledged+a
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	inDoubt, unknown := 0, ""
	told, err := judge.ReadLogs(filepath.Join(r.dir, "told"))
	for _, d := range r.arena.databases {
		prepared, failed := d.Prepared(ctx, told)
		inDoubt += len(prepared)
		if err != nil || failed != nil {
			unknown = "+?"
		}
	}
	r.mu.Lock()
	counts := maps.Clone(r.counts)
	r.mu.Unlock()
	network := 0
	for what, n := range counts {
		if !slices.Contains([]string{"kills", "stops", "stops at a point", "server kills", "recoveries", "recoveries killed", "judgements"}, what) {
			network += n
		}
	}
	return fmt.Sprintf("%8v  %d transactions, %d acknowledged, %d%s prepared; %d workers killed, %d stopped, %d servers killed, %d network faults, %d recoveries; judged %d times; now: %s",
		time.Since(r.begun).Round(time.Second), transactions, acknowledged, inDoubt, unknown,
		counts["kills"], counts["stops"]+counts["stops at a point"], counts["server kills"], network, counts["recoveries"], counts["judgements"],
		cmp.Or(strings.Join(r.atWork(), ", "), "no fault"))
}

// conclude tells what came of the run, and clears away what is not needed any more.
func (r *run) conclude(err error) error {
	wrong := r.violated()
	r.mu.Lock()
	v, counts := r.verdict, maps.Clone(r.counts)
	r.mu.Unlock()
	if err == nil && len(wrong) == 0 && (v.Outcomes[judge.Committed] == 0 || v.Written == 0) {
		err = errors.New("nothing was proved: no transaction was acknowledged; see the workers' logs")
	}
	fmt.Printf("\n%v: %d transactions, told as %s; %d are in the databases, with %d entries\n", time.Since(r.begun).Round(time.Second), v.Transfers, counted(v.Outcomes), v.Written, v.Entries)
	fmt.Printf("faults: %s\n", counted(counts))
	series := r.flat.series()
	printFlatness(series)
	if failed := r.write(series, wrong); failed != nil {
		err = errors.Join(err, failed)
	}
	if len(wrong) > 0 {
		r.tellWrong(wrong)
		return errViolated
	}
	if err != nil {
		return err
	}
	fmt.Println("all or nothing: every acknowledged transaction is there as a whole, none that was rolled back is, nothing is left prepared")
	if r.o.keep {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(r.arena.drop(ctx), os.RemoveAll(r.dir))
}

// tellWrong tells a person where to begin.
func (r *run) tellWrong(wrong []string) {
	fmt.Printf("\n%d VIOLATIONS\n", len(wrong))
	for _, what := range wrong {
		fmt.Println("  " + what)
	}
	for _, s := range r.slots {
		fmt.Printf("log of worker %d: %s, what it said: %s\n", s.n, s.place(), s.stderr())
	}
	fmt.Printf("seed %d repeats the choices, not their moments. Everything is kept: %s, and the tables.\n", r.o.seed, r.dir)
	fmt.Printf("Look for a transaction's ID in %s, and for its last word in %s; xa-recover show, list --all and log dump tell what log and databases hold.\n",
		filepath.Join(r.dir, "told"), filepath.Join(r.dir, "worker-*.log"))
	for _, d := range r.arena.databases {
		path := filepath.Join(r.dir, "book-"+d.Name)
		if err := dump(d, path); err != nil {
			fmt.Printf("%s could not be written: %v\n", path, err)
		} else {
			fmt.Printf("%s is what %s holds\n", path, d.Name)
		}
	}
	if r.o.hold {
		fmt.Println("The servers are kept until you end this program with Ctrl-C:")
		for _, d := range r.arena.databases {
			if u, err := url.Parse(d.URL); err == nil {
				fmt.Printf("  %s  %s\n", d.Name, u.Redacted())
			}
		}
		await()
	}
}

// place is where the worker's log is, without a password.
func (s *slot) place() string {
	u, err := connect.ParseLog(s.log)
	if err != nil {
		return err.Error()
	}
	return u.String()
}

// write writes the report.
func (r *run) write(flat []series, wrong []string) error {
	if r.o.report == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := report{
		Seed: r.o.seed, Directory: r.dir, Began: r.begun, Seconds: int(time.Since(r.begun).Seconds()), Log: r.logText(),
		Databases: names(r.arena.databases), Faults: r.counts, Verdict: r.verdict, Violations: wrong, Flatness: flat,
	}
	raw, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(r.o.report, append(raw, '\n'), 0o666)
}

// counted writes what was counted, e.g. "3 kills, 4 stops".
func counted[K ~string](counts map[K]int) string {
	var words []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%d %s", counts[what], what))
	}
	return cmp.Or(strings.Join(words, ", "), "none")
}
