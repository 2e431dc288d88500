package main

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/txlog/sqllog"
)

// schemaResult is what log schema tells.
type schemaResult struct {
	Command string `json:"command"` // "log schema"
	Dialect string `json:"dialect"` // "postgres", "mysql" or "sqlite"
	Schema  string `json:"schema"`  // SQL
}

func (a *app) logSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema [postgres | mysql | sqlite]",
		Short: "Print the SQL that makes the tables of a log in a database",
		Long: `Print the SQL that makes the tables of a log that is kept in a database, for
those who run their own migrations: otherwise the application makes them when
it opens the log. No database is asked. Without an argument the dialect is that
of the log's URL. MariaDB's is mysql.`,
		RunE: a.action(func(_ context.Context, args []string) (int, error) {
			return a.logSchema(args)
		}),
	}
}

func (a *app) logSchema(args []string) (int, error) {
	d, err := a.dialect(args)
	if err != nil {
		return 0, err
	}
	r := schemaResult{"log schema", d.String(), sqllog.Schema(d)}
	if err := a.print(r, func(w io.Writer) { io.WriteString(w, strings.TrimRight(r.Schema, "\n")+"\n") }); err != nil {
		return statusFailure, err
	}
	return statusSettled, nil
}

// dialect is the one that was named or, where none was, that of the log's URL.
func (a *app) dialect(args []string) (sqllog.Dialect, error) {
	const which = "postgres, mysql or sqlite"
	dialects := []sqllog.Dialect{sqllog.Postgres, sqllog.MySQL, sqllog.SQLite}
	switch len(args) {
	case 0:
		url, err := a.logURL()
		if err != nil {
			return sqllog.Dialect{}, usagef("which dialect? name it (%s), or the log with --log URL", which)
		}
		u, err := connect.ParseLog(url)
		if err == nil && u.Dir != "" {
			err = usagef("a log in files has no schema: name a dialect (%s)", which)
		}
		return u.Dialect, err
	case 1:
		name := args[0]
		if name == "mariadb" {
			name = "mysql"
		}
		if i := slices.IndexFunc(dialects, func(d sqllog.Dialect) bool { return d.String() == name }); i >= 0 {
			return dialects[i], nil
		}
		return sqllog.Dialect{}, usagef("the dialects are %s, not %q", which, args[0])
	}
	return sqllog.Dialect{}, usagef("log schema takes one dialect: %s", which)
}
