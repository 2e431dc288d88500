// Command xa-recover shows what a crash left in doubt in several databases, and settles it. It is run by
// hand, or from cron. Run it with --help for its flags.
//
// # Exit status
//
//	0  nothing of this log is left in doubt (other logs' and programs' branches don't count); of a log command: done, or all is well
//	1  failure: the log can't be opened or read, or is damaged; the ID is unknown; the run was interrupted
//	2  wrong usage: a bad flag, URL or ID
//	3  something is, or may be, left in doubt: a database could not be asked, a live process has it in hand, a decision can't be settled;
//	   of log compact and log adopt: a live process owns the log, and nothing was done
//	4  a heuristic outcome: a person must look
//
// # JSON
//
// With --output json the result is one object; of log dump it is one object a line, one for each decision. Fields are added, never
// renamed or removed. Times are RFC 3339 in UTC; a field that is unknown, or that says nothing, is left out. Lists are never null. The
// types tell the fields: result (resolve, list, show), infoResult, dumpEntry, verifyResult, compactResult, adoptResult and schemaResult. Messages
// go to standard error.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}
