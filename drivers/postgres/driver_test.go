package postgres

import "github.com/xasql/xasql/drivers"

var (
	_ drivers.Driver         = New()
	_ drivers.Checker        = New()
	_ drivers.Classifier     = New()
	_ drivers.Identifier     = New()
	_ drivers.ReadOnlyBranch = (*branch)(nil)
)
