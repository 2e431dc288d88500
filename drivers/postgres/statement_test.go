package postgres

import (
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
)

func TestBeginStatesWhatWasAskedFor(t *testing.T) {
	const marks = "; SET xasql.branch = 'committed g'; SET LOCAL xasql.branch = 'active g'"
	for _, c := range []struct {
		opts *sql.TxOptions
		want string
	}{
		{nil, "BEGIN NOT DEFERRABLE"},
		{&sql.TxOptions{}, "BEGIN NOT DEFERRABLE"},
		{&sql.TxOptions{ReadOnly: true}, "BEGIN READ ONLY NOT DEFERRABLE"},
		{&sql.TxOptions{Isolation: sql.LevelReadUncommitted}, "BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE"},
		{&sql.TxOptions{Isolation: sql.LevelReadCommitted}, "BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE"},
		{&sql.TxOptions{Isolation: sql.LevelRepeatableRead}, "BEGIN ISOLATION LEVEL REPEATABLE READ NOT DEFERRABLE"},
		{&sql.TxOptions{Isolation: sql.LevelSnapshot}, "BEGIN ISOLATION LEVEL REPEATABLE READ NOT DEFERRABLE"},
		{&sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true}, "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY NOT DEFERRABLE"},
	} {
		got, err := beginSQL("g", c.opts)
		if err != nil || got != c.want+marks {
			t.Errorf("beginSQL(%+v) = %q, %v; want %q", c.opts, got, err, c.want+marks)
		}
	}
}

func TestLevelsThatPostgreSQLLacksAreRefused(t *testing.T) {
	for _, level := range []sql.IsolationLevel{sql.LevelWriteCommitted, sql.LevelLinearizable, 99} {
		if _, err := beginSQL("g", &sql.TxOptions{Isolation: level}); !errors.Is(err, drivers.ErrNotSupported) {
			t.Errorf("%s: %v, want ErrNotSupported", level, err)
		}
	}
}

func TestPrepareAndCommitAreGuarded(t *testing.T) {
	for _, statements := range []string{prepareSQL("g"), commitSQL, leaveSQL} {
		if !strings.HasPrefix(statements, "SAVEPOINT ") {
			t.Errorf("%q would be answered with success in a failed transaction", statements)
		}
	}
}
