package connect

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/xasql/xasql/drivers"
)

// ErrUsage is returned for a name or a URL that can't be used as it is written: trying again won't help.
var ErrUsage = errors.New("bad name or URL")

// usageError is ErrUsage, and has the text of what is wrong only.
type usageError struct{ error }

func (e usageError) Is(target error) bool { return target == ErrUsage }
func (e usageError) Unwrap() error        { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// connectTimeout limits how long a server may take to answer a new connection.
const connectTimeout = 10 * time.Second

// SplitFlag reads NAME=URL.
func SplitFlag(flag string) (name, url string, err error) {
	name, url, ok := strings.Cut(flag, "=")
	if !ok || strings.Contains(name, ":") { // without NAME= the first '=' is one of the URL's own
		return "", "", usagef("a resource is written NAME=URL, e.g. orders=postgres://app@db1/orders")
	}
	if err := checkName(name); err != nil {
		return "", "", err
	}
	if url == "" {
		return "", "", usagef("resource %q has no URL", name)
	}
	return name, url, nil
}

// Resource makes a resource of the database that the URL names. Nothing is contacted yet. The caller closes the
// resource's DB. An error is ErrUsage.
func Resource(name, url string) (drivers.Resource, error) {
	return resource(account{name: name}, url, false)
}

// ResourceWith is Resource with a password, which was read from the named file, for where neither the URL nor the environment holds one.
func ResourceWith(name, url, password, file string) (drivers.Resource, error) {
	return resource(account{name, password, file}, url, false)
}

// Create is Resource, and lets a SQLite file that does not exist be created, in WAL mode.
func Create(name, url string) (drivers.Resource, error) {
	return resource(account{name: name}, url, true)
}

func resource(who account, url string, create bool) (drivers.Resource, error) {
	name := who.name
	if err := checkName(name); err != nil {
		return drivers.Resource{}, err
	}
	db, driver, err := openDatabase(who, url, create)
	if err != nil {
		return drivers.Resource{}, usagef("resource %q: %w", name, err)
	}
	return drivers.Resource{Name: name, DB: db, Driver: driver}, nil
}

// openDatabase makes a pool for the URL. The name tells which environment variable holds the password.
func openDatabase(who account, url string, create bool) (*sql.DB, drivers.Driver, error) {
	scheme, rest, _ := strings.Cut(url, ":")
	switch scheme {
	case "postgres", "postgresql":
		return openPostgres(who, url)
	case "mysql", "mariadb":
		return openMySQL(who, url)
	case "sqlite":
		return openSQLite(rest, create)
	}
	// The scheme is not quoted: where there is none, it is the beginning of something else.
	return nil, nil, errors.New("its URL begins with none of sqlite:, postgres:// and mysql://")
}

// checkName tells whether a resource can have this name (see drivers.Resource).
func checkName(name string) error {
	if name == "" || len(name) > drivers.MaxBQual {
		return usagef("a resource's name has 1 to %d bytes, and %q has %d", drivers.MaxBQual, clip(name), len(name))
	}
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && !strings.ContainsRune("._-", rune(c)) {
			return usagef("resource %q: a name is made of ASCII letters, digits, '.', '_' and '-'", clip(name))
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// clip shortens a name that may be anything, such as a whole file pasted in the wrong place.
func clip(name string) string {
	if len(name) > drivers.MaxBQual {
		return name[:drivers.MaxBQual] + "..."
	}
	return name
}
