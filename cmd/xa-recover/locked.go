package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/recovery"
)

// maxTables is how many tables are named of one branch; the JSON output names them all.
const maxTables = 5

// addTables asks the databases which tables the branches have locked. Who can't tell of this log's own is named.
func (r *result) addTables(ctx context.Context, resources []drivers.Resource) {
	askAll(ctx, resources, r.askTables)
}

func (r *result) askTables(ctx context.Context, res drivers.Resource, l drivers.Locker) {
	for i := range r.Branches {
		branch := &r.Branches[i]
		xid, err := drivers.ParseXID(branch.XID)
		if branch.Resource != res.Name || err != nil {
			continue
		}
		tables, err := l.LockedTables(ctx, res.DB, xid)
		switch {
		case err == nil:
			branch.Tables = nonNil(tables)
		case branch.Action != actionName(recovery.Foreign):
			r.untoldTables(res.Name, text(err))
		}
	}
}

// untoldTables notes why a database can't tell which tables its branches have locked.
func (r *result) untoldTables(resource, why string) {
	for i := range r.Resources {
		if res := &r.Resources[i]; res.Name == resource && res.UntoldTables == "" {
			res.UntoldTables = why
		}
	}
}

// locked is which tables the branch has locked, in words; "" where that is not known.
func (b branchResult) locked() string {
	switch more := len(b.Tables) - maxTables; {
	case b.Tables == nil:
		return ""
	case len(b.Tables) == 0:
		return "has locked no table"
	case more > 0:
		return oneLine(fmt.Sprintf("has locked %s and %d more tables", strings.Join(b.Tables[:maxTables], ", "), more))
	}
	return oneLine("has locked " + and(b.Tables))
}
