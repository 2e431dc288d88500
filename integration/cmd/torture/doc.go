// Command torture tries xasql on databases of your choice before you trust it with them. Processes make transfers between the databases in global
// transactions, and are killed, stopped, cut off and recovered at random; a checker that shares no code with xasql compares what they were told
// with what the databases hold.
//
//	torture -engines postgres:18,mysql:9.7,mariadb:11.8,sqlite -duration 10m
//	XA_RESOURCES='orders=postgres://me@db1/trial billing=mysql://me@db2/trial' torture -network -duration 1h -json report.json
//	torture -clean -resource orders=postgres://me@db1/trial -resource billing=mysql://me@db2/trial
//
// Databases and log are named as for xa-recover: -resource NAME=URL (again for each) or XA_RESOURCES, -log URL or XA_LOG, passwords in the
// URLs or in XA_NAME_PASSWORD. Take databases for trial: no application's.
//
// # What it does to your databases
//
// It makes three tables in each: xasql_torture_accounts, xasql_torture_entries, and xasql_torture_made, which notes what else is its own. Where
// one of them is there already it refuses. It writes and reads these tables only; in SQLite files xasql makes its own tables
// (_xa_...) and triggers too, which stay. Prepared transactions that are not this run's are left alone. At a good end the tables are
// dropped, unless -keep; after a violation, an interruption or a failure they stay, and -clean drops them.
//
// The log is by default in files, in the run's directory, one for each worker, as a log in files has one owner. -log file:DIR puts them into DIR, which
// must be empty or not there. -log postgres://… or mysql://… is one log that the workers share; there must be none in that database, and no
// application may use it. With -engines, -log postgres:18 puts it into that engine's database.
//
// The load is what -workers (3 processes), -threads (3 transfers at a time in each), -think (no
// pause between them) and -jitter (pauses of up to 20ms at each step of the commit protocol, so that a kill hits between two) make of it. Rows, locks and
// connections of your servers are used accordingly: 4 × threads + 4 connections for each worker and database, at most.
//
// # What it breaks
//
// Every 2 seconds or so (-every), one of these, at random, where possible and unless -faults KIND,KIND says which (none: none):
//
//	kill     SIGKILL of a worker, at a random moment, or by its own hand at a random point of the commit protocol
//	stop     SIGSTOP of a worker, at a random moment or by its own hand at a random point, and SIGCONT after up to 15 s: longer than
//	         its lease on a shared log
//	recover  xa-recover resolve, after a worker's end or beside it, half of the time killed within 200 ms. It must be of the same
//	         version: the one beside this program or in the PATH, or that of -xa-recover PATH
//	server   SIGKILL of a server that -engines started, and its restart, now and then together with a worker. Never a server of
//	         yours. MySQL's only with -kill-mysql: version 9.7 was seen to lose prepared transactions then
//	network  a connection that is cut, refused, reset at a statement of the protocol, hangs, or is slow. Connections to servers
//	         of yours go through a proxy in this program only with -network: it needs URLs with one host, and a client that checks
//	         the server's host name against its certificate refuses the proxy
//
// One worker is never killed, only stopped and cut off (-steady=false: it is). Its goroutines, connections, memory, open
// files and log are shown by thirds of the run. So that its log is seen to be compacted, segments are small (-segment 262144 bytes) and
// settled decisions are kept for -retention (1m) only.
//
// # What it proves
//
// Before a transfer begins, its worker writes down what it is going to write, and afterwards what it was told, each as a numbered line in a file, with
// one write: that survives SIGKILL of the worker (not a power failure of this machine). Every -check (1m), and at the end, all workers pause; then a process
// of its own, torture check, which links none of xasql's drivers, logs or recovery into its judgement, looks whether
//
//   - every transfer is in all of its databases, to the letter of what was planned, or in none;
//   - what was acknowledged as committed is there, and what was told as rolled back is nowhere;
//   - what a killed worker never knew, or was told as unknown, is all there or not at all;
//   - the balances are what the entries make them, and all together what they were;
//   - nothing is left prepared: recovery has -patience (3m) for that;
//   - nothing was reported as heuristic.
//
// At the end the workers must shut down by themselves, and xa-recover list must find nothing in doubt in any log.
//
// It does not prove isolation: another reader can see one database committed a moment before the next. It does not cut the power: servers
// and logs lose nothing by SIGKILL that the operating system already has. It does not test what it does not use: your schema, your
// statements, your load, replicas and failovers. And a run that is good has not met a fault; it does not say that there is none.
//
// # What it tells
//
// A line every 5 seconds (-progress), the figures at the end, all of them as JSON with -json FILE. -seed N repeats the choices of an earlier run: faults,
// transfers and amounts; not the moments, which the machine makes. -dir DIR, which must not exist, is where everything is written; default: a
// new one among the temporary ones, removed at a good end unless -keep.
//
// A violation ends the run at once. Everything is kept: what was told, the workers' own logs, the tables, and a copy of them in files; the seed, the
// transfers' IDs and where to look are printed. A transfer's ID says who made it: w1g4t0-17 is the 17th of thread 0 of the 4th process
// of worker 1. With -hold, servers that -engines started stay up until you press Ctrl-C. To judge again:
//
//	XA_RESOURCES=… torture check -told DIR/told -patience 10s
//
// The exit status is 0 when all is right; 1 after a violation: a wrong outcome, a worker or a recovery that hangs, or ends as it must not; 2 when
// nothing was proved: wrong usage, a database that can't be used, an interruption, or no transfer that was acknowledged.
//
// # Where servers come from
//
// -engines takes official images, as package engines of xasql's integration tests does: Docker must run. A variable like XA_POSTGRES_18_URL with an
// administrator's URL names a server that is there instead, which is then not killed.
package main
