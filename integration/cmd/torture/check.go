package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"time"

	"github.com/xasql/xasql/integration/judge"
)

// check is the checker's process: it reads what was told and what the databases hold, and writes a judge.Verdict. The databases stand in
// XA_RESOURCES, as for all programs.
func check(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("torture check", flag.ContinueOnError)
	told := f.String("told", "", "directory of what the workers were told")
	patience := f.Duration("patience", time.Minute, "how long to wait for what is in doubt")
	if err := f.Parse(args); err != nil {
		return err
	}
	databases, err := judge.ParseDatabases(os.Getenv("XA_RESOURCES"))
	if err != nil {
		return err
	}
	if *told == "" || len(databases) == 0 || f.NArg() > 0 {
		return errors.New("check: needs -told DIR, and the databases in XA_RESOURCES")
	}
	v, err := judge.Judge(ctx, databases, *told, *patience)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	if err := out.Encode(v); err != nil {
		return err
	}
	if len(v.Violations) > 0 {
		return errViolated
	}
	return nil
}
