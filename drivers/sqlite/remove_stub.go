//go:build !cgo || !(linux || darwin)

package sqlite

import (
	"context"
	"database/sql"
)

// Remove takes everything that this package has put into a file out of it again, where the package can work at all.
func Remove(context.Context, *sql.DB) error { return driver{}.refuse("remove the fence") }
