package crash

// Case is one transaction over two databases, and where it is to be stopped.
type Case struct {
	ID    string
	Point string  // of [Points]
	Then  string  // of [Recoveries]: where the recovery of the first crash is stopped; "": it is not
	Log   string  // the directory of its decision log, its own
	Sides [2]Side // a and b
	Row   int     // which it changes in both; its own
}

// Side is one of a case's databases.
type Side struct {
	Name string // of the resource; begins with "a" or "b"
	URL  string // as for xa-recover
}

// Table is what each database holds: a row for each case.
const Table = "create table crashes (id integer primary key, hits bigint not null)"

// What a case adds to its row's hits in each database: Hit by the transaction that is stopped, Before by one that was finished before.
const (
	Hit    = 1
	Before = 100
)
