package connect

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/mattn/go-sqlite3"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/sqlite"
)

func openSQLite(path string, create bool) (*sql.DB, drivers.Driver, error) {
	path, err := localPath("sqlite", path)
	if err != nil {
		return nil, nil, err
	}
	options := url.Values{
		"mode": {"rw"}, // without it SQLite makes a new, empty database of a wrong path: nothing in doubt there
		// Syncs are what a decision rests on; the driver's default leaves out those of a commit in WAL mode.
		"_synchronous":  {"FULL"},
		"_busy_timeout": {"5000"},
	}
	if create {
		options.Set("mode", "rwc")
		options.Set("_journal_mode", "WAL")
	}
	// As a URI, since only there '?', '#' and '%' in a path can be written.
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: options.Encode()}
	return sql.OpenDB(&sqliteConnector{path: path, dsn: dsn.String()}), sqlite.New(), nil
}

// localPath reads what follows "sqlite:" or "file:". The path is made absolute, since pools open
// connections later, perhaps from another working directory.
func localPath(scheme, path string) (string, error) {
	switch {
	case path == "":
		return "", fmt.Errorf("the path is missing: write %s:PATH", scheme)
	case strings.HasPrefix(path, "//") && !strings.HasPrefix(path, "///"):
		return "", fmt.Errorf("%s: takes no host: write %s:PATH or %s:///PATH", scheme, scheme, scheme)
	case strings.ContainsRune(path, 0):
		return "", errors.New("the path contains a zero byte")
	case scheme == "sqlite" && strings.HasPrefix(path, ":memory:"):
		return "", errors.New("a database in memory has nothing to recover: name a file")
	}
	return filepath.Abs(path)
}

// sqliteConnector opens connections to one file, and names that file in its errors: SQLite does not.
type sqliteConnector struct {
	path   string
	dsn    string
	driver sqlite3.SQLiteDriver
}

// Connect implements driver.Connector.
func (c *sqliteConnector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.dsn)
	if err == nil {
		return conn, nil
	}
	info, statErr := os.Stat(c.path)
	switch {
	case errors.Is(statErr, os.ErrNotExist) && strings.Contains(c.path, "?"):
		return nil, fmt.Errorf("no file %q (all that follows sqlite: is the path)", c.path)
	case errors.Is(statErr, os.ErrNotExist):
		return nil, fmt.Errorf("no file %q", c.path)
	case statErr == nil && info.IsDir():
		return nil, fmt.Errorf("%q is a directory: name the database's file", c.path)
	}
	return nil, fmt.Errorf("open %q: %w", c.path, err)
}

// Driver implements driver.Connector.
func (c *sqliteConnector) Driver() driver.Driver { return &c.driver }
