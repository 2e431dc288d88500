package xa

import (
	"context"
	"database/sql/driver"
	"io"
	"reflect"
)

// rows are a query's rows, of which the branch knows that they are open. It offers every optional interface of
// driver.Rows, with database/sql's own answer where the driver's rows lack it.
type rows struct {
	driver.Rows
	b       *Branch
	ctx     context.Context // the query's, which lasts as long as its rows
	release func()
	closed  bool // guarded by b.io
}

// opened takes over what a query returned. b.io is held.
func (b *Branch) opened(ctx context.Context, r driver.Rows, err error, release func()) (driver.Rows, error) {
	if err != nil {
		defer release()
		return nil, b.explain(ctx, err)
	}
	own := &rows{Rows: r, b: b, ctx: ctx, release: release}
	b.rows[own] = struct{}{}
	return own, nil
}

// end closes the driver's rows. b.io is held.
func (r *rows) end() error {
	if r.closed {
		return nil
	}
	r.closed = true
	delete(r.b.rows, r)
	defer r.release()
	return r.Rows.Close()
}

func (r *rows) Close() error {
	if !r.b.lock() {
		return nil // the transaction's end closes them
	}
	defer r.b.io.Unlock()
	return r.b.explain(r.ctx, r.end())
}

func (r *rows) Next(dest []driver.Value) error {
	if !r.b.lock() {
		return r.b.over()
	}
	defer r.b.io.Unlock()
	if r.closed {
		return r.b.over()
	}
	err := r.Rows.Next(dest)
	if err == io.EOF {
		return err
	}
	return r.b.explain(r.ctx, err)
}

func (r *rows) HasNextResultSet() bool {
	x, ok := r.Rows.(driver.RowsNextResultSet)
	return ok && x.HasNextResultSet()
}

func (r *rows) NextResultSet() error {
	if !r.b.lock() {
		return r.b.over()
	}
	defer r.b.io.Unlock()
	x, ok := r.Rows.(driver.RowsNextResultSet)
	if !ok || r.closed {
		return io.EOF
	}
	return x.NextResultSet()
}

func (r *rows) ColumnTypeScanType(i int) reflect.Type {
	if x, ok := r.Rows.(driver.RowsColumnTypeScanType); ok {
		return x.ColumnTypeScanType(i)
	}
	return reflect.TypeFor[any]()
}

func (r *rows) ColumnTypeDatabaseTypeName(i int) string {
	if x, ok := r.Rows.(driver.RowsColumnTypeDatabaseTypeName); ok {
		return x.ColumnTypeDatabaseTypeName(i)
	}
	return ""
}

func (r *rows) ColumnTypeLength(i int) (int64, bool) {
	if x, ok := r.Rows.(driver.RowsColumnTypeLength); ok {
		return x.ColumnTypeLength(i)
	}
	return 0, false
}

func (r *rows) ColumnTypeNullable(i int) (nullable, ok bool) {
	if x, ok := r.Rows.(driver.RowsColumnTypeNullable); ok {
		return x.ColumnTypeNullable(i)
	}
	return false, false
}

func (r *rows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	if x, ok := r.Rows.(driver.RowsColumnTypePrecisionScale); ok {
		return x.ColumnTypePrecisionScale(i)
	}
	return 0, 0, false
}
