package xa

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
)

// These do what database/sql does with a driver's connection or statement that lacks an optional interface.

func execOn(ctx context.Context, raw driver.Conn, query string, args []driver.NamedValue) (driver.Result, error) {
	switch x := raw.(type) {
	case driver.ExecerContext:
		return x.ExecContext(ctx, query, args)
	case driver.Execer: //nolint:staticcheck // older drivers have no other
		values, err := plainValues(ctx, args)
		if err != nil {
			return nil, err
		}
		return x.Exec(query, values)
	}
	return nil, driver.ErrSkip
}

func queryOn(ctx context.Context, raw driver.Conn, query string, args []driver.NamedValue) (driver.Rows, error) {
	switch x := raw.(type) {
	case driver.QueryerContext:
		return x.QueryContext(ctx, query, args)
	case driver.Queryer: //nolint:staticcheck // older drivers have no other
		values, err := plainValues(ctx, args)
		if err != nil {
			return nil, err
		}
		return x.Query(query, values)
	}
	return nil, driver.ErrSkip
}

func prepareOn(ctx context.Context, raw driver.Conn, query string) (driver.Stmt, error) {
	if p, ok := raw.(driver.ConnPrepareContext); ok {
		return p.PrepareContext(ctx, query)
	}
	s, err := raw.Prepare(query)
	if err == nil && ctx.Err() != nil {
		s.Close()
		return nil, ctx.Err()
	}
	return s, err
}

func beginOn(ctx context.Context, raw driver.Conn, opts driver.TxOptions) (driver.Tx, error) {
	if b, ok := raw.(driver.ConnBeginTx); ok {
		return b.BeginTx(ctx, opts)
	}
	if sql.IsolationLevel(opts.Isolation) != sql.LevelDefault {
		return nil, errors.New("sql: driver does not support non-default isolation level")
	}
	if opts.ReadOnly {
		return nil, errors.New("sql: driver does not support read-only transactions")
	}
	tx, err := raw.Begin() //nolint:staticcheck // older drivers have no other
	if err == nil && ctx.Err() != nil {
		tx.Rollback()
		return nil, ctx.Err()
	}
	return tx, err
}

// prepares tells whether statements on the connection are always prepared first. It has no opinion of arguments then:
// the statement's counts.
func prepares(raw driver.Conn) bool {
	switch raw.(type) {
	case driver.ExecerContext, driver.Execer, driver.QueryerContext, driver.Queryer: //nolint:staticcheck // older drivers have no other
		return false
	}
	return true
}

// checkOn asks the first that can check arguments.
func checkOn(v *driver.NamedValue, asked ...any) error {
	for _, a := range asked {
		if check, ok := a.(driver.NamedValueChecker); ok {
			return check.CheckNamedValue(v)
		}
	}
	return driver.ErrSkip
}

// plainValues are the arguments for a driver that knows neither named ones nor contexts.
func plainValues(ctx context.Context, args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i, a := range args {
		if a.Name != "" {
			return nil, errors.New("sql: driver does not support the use of Named Parameters")
		}
		values[i] = a.Value
	}
	return values, ctx.Err()
}
