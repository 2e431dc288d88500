// Command xa-recover shows what a crash left in doubt in several databases, and settles it. It is run by
// hand, or from cron. Run it with --help for its flags.
//
// # Exit status
//
//	0  nothing of this log is left in doubt (other logs' and programs' branches don't count); of a log command: done, or all is well
//	1  failure: the log can't be opened or read, or is damaged; the ID is unknown; a person's decision was refused; the run was interrupted;
//	   of doctor: something is found that can't work
//	2  wrong usage: a bad flag, URL or ID
//	3  something is, or may be, left in doubt: a database could not be asked, a live process has it in hand, a decision can't be settled;
//	   of forget, log compact and log adopt: a live process owns the log, and nothing was done
//	4  a heuristic outcome: a person must look; one that is noted counts until it is forgotten
//
// # JSON
//
// With --output json the result is one object; of log dump it is one object a line, one for each decision. Fields are added, never
// renamed or removed. Times are RFC 3339 in UTC; a field that is unknown, or that says nothing, is left out. Lists are never null. Messages
// go to standard error.
//
//	resolve, list, show, commit, rollback: command acted status log_id owner damage in_doubt heuristic foreign only transaction resources branches decisions notes no_notes logs
//	  transaction: id begun_at decision settled foreign next
//	  resources:   name error identity was same_as withheld untold untold_tables branches
//	  branches:    xid raw resource decision action reason error since age_seconds owner holder held locks waiting xmin_age tables
//	  decisions:   id outcome at resources settled reason unverified
//	  notes:       id kind resource by text at
//	  logs:        log_id transactions branches resources oldest in_use
//	forget:        command status log_id owner id notes
//	doctor:        command status log_id owner findings resources
//	  checked resources: name version identity prepared used limit clock_skew_seconds findings
//	  findings:    severity problem hint
//	version:       command version revision go
//	log info:      command status log_id kind place damage copied_at original owner segments archives bytes version unsettled settled notes members
//	  members:     mark name alive since expires
//	log dump:      id outcome at settled settled_at resources evidence
//	log verify:    command status log_id owner damage version decisions unsettled notes files
//	  files:       name kind bytes records cut damage
//	log compact:   command status log_id owner before after
//	  before, after: segments archives bytes unsettled settled
//	log adopt:     command status log_id owner
//	log schema:    command dialect schema
//
// A status is "settled", "in_doubt", "heuristic" or "damaged" (resolve, list, show, commit, rollback), "forgotten", "nothing_to_forget" or "owned" (forget), "fit" or "unfit" (doctor), "well" or "damaged" (log info, log verify), "compacted"
// or "owned" (log compact), "adopted", "nothing_to_adopt" or "owned" (log adopt). The comments of the types tell the rest.
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
