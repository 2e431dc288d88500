package connect

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/txlog/sqllog"
)

// logName is the log's name where a resource's name stands: its password is in XA_LOG_PASSWORD, as that of a resource called log.
const logName = "log"

// LogURL is where a decision log is kept; see [ParseLog].
type LogURL struct {
	Dir     string         // the directory of a log in files; "": it is in a database
	Dialect sqllog.Dialect // of a log in a database

	raw      string
	password string
	file     string // that the password is from
}

// WithPassword returns the URL with a password, which was read from the named file, for where neither the URL nor the environment holds one.
func (u LogURL) WithPassword(password, file string) LogURL {
	u.password, u.file = password, file
	return u
}

// LogOptions are the optional settings of [LogURL.Open]. The zero value of each is its default.
type LogOptions struct {
	// Logger is told what a person should know. nil: slog.Default().
	Logger *slog.Logger
	// Retention is how long settled decisions stay readable, at least. Zero: the log's own default; negative: none. Who does not know the
	// application's setting must not cut it short: [Forever].
	Retention time.Duration
	// Create lets a log that does not exist be created.
	Create bool
}

// Forever is a retention that drops nothing.
const Forever = 100 * 365 * 24 * time.Hour

// ParseLog reads a log's URL. Nothing is opened or contacted. An error is ErrUsage.
func ParseLog(raw string) (LogURL, error) {
	u := LogURL{raw: raw}
	var err error
	switch scheme, rest, _ := strings.Cut(raw, ":"); scheme {
	case "file":
		if u.Dir, err = localPath("file", rest); err == nil {
			return u, nil
		}
	case "postgres", "postgresql":
		u.Dialect = sqllog.Postgres
	case "mysql", "mariadb":
		u.Dialect = sqllog.MySQL
	case "sqlite":
		u.Dialect = sqllog.SQLite
	default: // not quoted, as in openDatabase
		err = errors.New("its URL begins with none of file:, sqlite:, postgres:// and mysql://")
	}
	if err == nil {
		var db *sql.DB
		if db, err = u.openDB(); err == nil {
			return u, db.Close()
		}
	}
	return LogURL{}, usagef("log: %w", err)
}

// String returns the URL without its password and options.
func (u LogURL) String() string {
	if u.Dir != "" {
		return "file:" + u.Dir
	}
	scheme, path, _ := strings.Cut(u.raw, ":")
	if scheme == "sqlite" {
		path, _ = localPath(scheme, path) // it was read before
		return "sqlite:" + path
	}
	server, _ := parseServer(u.raw)
	user := ""
	if server.user != "" {
		user = url.PathEscape(server.user) + "@"
	}
	return scheme + "://" + user + server.host + "/" + server.path
}

func (u LogURL) openDB() (*sql.DB, error) {
	db, _, err := openDatabase(account{logName, u.password, u.file}, u.raw, false)
	return db, err
}

// Open opens the log to be written: one in files as its owner, one in a database beside others. A log that does not exist is an
// error, unless Create says so: an empty new one in its place would take every branch in doubt for another log's. An owned log is
// txlog.ErrOwned, a damaged one txlog.ErrCorrupt. Closing the log closes the database's pool too.
func (u LogURL) Open(ctx context.Context, opts LogOptions) (txlog.Log, error) {
	if u.Dir != "" {
		log, err := filelog.Open(u.Dir, &filelog.Options{Existing: !opts.Create, Logger: opts.Logger, Retention: opts.Retention})
		if err != nil {
			return nil, err // and no interface that holds a nil pointer
		}
		return log, nil
	}
	// Tables that nobody has used yet get their identity when they are opened to be written: here, too, a wrong place would
	// become a log. Reading tells.
	if !opts.Create {
		log, err := u.Read(ctx)
		if err == nil {
			err = log.Close()
		}
		if err != nil {
			return nil, err
		}
	}
	return u.openSQL(ctx, &sqllog.Options{Existing: !opts.Create, Logger: opts.Logger, Retention: opts.Retention})
}

// Read opens the log to be read: beside its owner, and without permission to write. Errors are as Open's, but a damaged
// log in files is opened (see filelog.OpenReadOnly).
func (u LogURL) Read(ctx context.Context) (txlog.Log, error) {
	if u.Dir == "" {
		return u.openSQL(ctx, &sqllog.Options{Existing: true, ReadOnly: true})
	}
	log, err := filelog.OpenReadOnly(u.Dir)
	if err != nil {
		return nil, err
	}
	return log, nil
}

// ReadLog opens the log that the URL names to be read; see [LogURL.Read].
func ReadLog(url string) (txlog.Log, error) {
	u, err := ParseLog(url)
	if err != nil {
		return nil, err
	}
	return u.Read(context.Background())
}

func (u LogURL) openSQL(ctx context.Context, opts *sqllog.Options) (txlog.Log, error) {
	db, err := u.openDB()
	if err != nil {
		return nil, usagef("log: %w", err)
	}
	log, err := sqllog.Open(ctx, db, u.Dialect, opts)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return sqlLog{log, db}, nil
}

// sqlLog is a log with a pool of its own. It has all methods of the log, and with them its optional interfaces.
type sqlLog struct {
	*sqllog.Log
	db *sql.DB
}

var (
	_ txlog.Shared    = sqlLog{}
	_ txlog.Registrar = sqlLog{}
	_ txlog.Historian = sqlLog{}
	_ txlog.Compactor = sqlLog{}
)

// Close closes the log, then the pool.
func (l sqlLog) Close() error { return errors.Join(l.Log.Close(), l.db.Close()) }
