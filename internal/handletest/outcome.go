package handletest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

// valuer is a type of the application's that knows its value.
type valuer int

func (v valuer) Value() (driver.Value, error) { return int64(v) * 2, nil }

// failing is one that does not.
type failing struct{}

var errFailing = errors.New("the value is not to be had")

func (failing) Value() (driver.Value, error) { return nil, errFailing }

// result tells what an Exec returned.
func result(res sql.Result, err error) string {
	if err != nil {
		return describe(err)
	}
	n, err := res.RowsAffected()
	return fmt.Sprintf("%d rows affected %s", n, describe(err))
}

// rowsOf tells what a query returned: columns, their types, so many rows, and how it ended.
func rowsOf(rows *sql.Rows, err error, limit int) string {
	if err != nil {
		return describe(err)
	}
	defer rows.Close()
	var b strings.Builder
	names, err := rows.Columns()
	fmt.Fprintf(&b, "%q %s", names, describe(err))
	types, err := rows.ColumnTypes()
	b.WriteString(describe(err))
	for _, t := range types {
		length, hasLength := t.Length()
		nullable, knowsNull := t.Nullable()
		precision, scale, decimal := t.DecimalSize()
		fmt.Fprintf(&b, " [%s %s %v %d %t %t %t %d %d %t]", t.Name(), t.DatabaseTypeName(), t.ScanType(),
			length, hasLength, nullable, knowsNull, precision, scale, decimal)
	}
	for ; limit > 0 && rows.Next(); limit-- {
		values := make([]any, len(names))
		targets := make([]any, len(names))
		for i := range values {
			targets[i] = &values[i]
		}
		b.WriteString(describe(rows.Scan(targets...)))
		for _, v := range values {
			fmt.Fprintf(&b, " %T(%v)", v, v)
		}
		b.WriteString(";")
	}
	fmt.Fprintf(&b, " more sets: %t", limit > 0 && rows.NextResultSet())
	b.WriteString(describe(rows.Err()))
	b.WriteString(describe(rows.Close()))
	return b.String()
}

// describe tells what an error is: which of database/sql's and the contexts' own, and the innermost one's type and
// text. What stands around that may differ.
func describe(err error) string {
	if err == nil {
		return "ok "
	}
	var is []string
	for _, known := range []error{sql.ErrNoRows, sql.ErrTxDone, sql.ErrConnDone, driver.ErrBadConn, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			is = append(is, known.Error())
		}
	}
	inner := innermost(err)
	return fmt.Sprintf("%s%q%s%T(%v) ", failed, is, cause, inner, inner)
}

// What an error's description begins with, and what stands before its cause.
const (
	failed = "error "
	cause  = " because of "
)

// innermost follows the chain; where several were wrapped it takes the last, which is the cause.
func innermost(err error) error {
	for {
		var next error
		switch x := err.(type) {
		case interface{ Unwrap() error }:
			next = x.Unwrap()
		case interface{ Unwrap() []error }:
			if all := x.Unwrap(); len(all) > 0 {
				next = all[len(all)-1]
			}
		}
		if next == nil {
			return err
		}
		err = next
	}
}
