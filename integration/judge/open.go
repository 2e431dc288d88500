package judge

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "github.com/mattn/go-sqlite3"
)

// Database is one of those that transfers are made between, or the one that holds their log. Its URL is written as for xa-recover:
// postgres://…, mysql://… or sqlite:PATH, the password in it or in XA_NAME_PASSWORD.
type Database struct {
	Name string
	URL  string
}

// ParseDatabases reads NAME=URL, separated by blanks or, where there is a newline, one a line.
func ParseDatabases(list string) ([]Database, error) {
	words := strings.Fields(list)
	if strings.Contains(strings.TrimSpace(list), "\n") {
		words = strings.Split(strings.TrimSpace(list), "\n")
	}
	var out []Database
	for _, word := range words {
		name, raw, ok := strings.Cut(strings.TrimSpace(word), "=")
		if !ok || strings.Contains(name, ":") {
			return nil, errors.New("judge: a database is written NAME=URL, e.g. orders=postgres://app@db1/orders")
		}
		out = append(out, Database{name, raw})
	}
	return out, nil
}

// kind is the engine that the URL names, "" for none.
func (d Database) kind() string {
	switch scheme, _, _ := strings.Cut(d.URL, ":"); scheme {
	case "postgres", "postgresql":
		return "postgres"
	case "mysql", "mariadb":
		return "mysql"
	case "sqlite":
		return "sqlite"
	}
	return ""
}

// open opens a pool of the judge's own. Nothing is contacted yet. No error repeats the URL, which may hold a password.
func (d Database) open() (*sql.DB, error) {
	var db *sql.DB
	var err error
	switch d.kind() {
	case "postgres":
		db, err = d.openPostgres()
	case "mysql":
		db, err = d.openMySQL()
	case "sqlite":
		var path string
		if path, err = filepath.Abs(strings.TrimPrefix(d.URL, "sqlite:")); err == nil {
			dsn := url.URL{Scheme: "file", Path: path, RawQuery: "_journal_mode=WAL&_busy_timeout=10000&_synchronous=FULL"}
			db, err = sql.Open("sqlite3", dsn.String())
		}
	default:
		err = errors.New("its URL begins with none of sqlite:, postgres:// and mysql://")
	}
	if err != nil {
		return nil, fmt.Errorf("judge: %s: %w", d.Name, err)
	}
	return db, nil
}

// password is that of the environment.
func (d Database) password() string {
	name := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(d.Name))
	return os.Getenv("XA_" + name + "_PASSWORD")
}

func (d Database) openPostgres() (*sql.DB, error) {
	config, err := pgx.ParseConfig(d.URL)
	if err != nil {
		return nil, errors.New("pgx can't read its URL") // its own error quotes it
	}
	config.Password = cmp.Or(d.password(), config.Password)
	return stdlib.OpenDB(*config), nil
}

func (d Database) openMySQL() (*sql.DB, error) {
	u, err := url.Parse(d.URL)
	if err != nil {
		return nil, errors.New("its URL can't be read")
	}
	options := u.Query()
	socket, ca := options.Get("socket"), options.Get("ssl-ca")
	options.Del("socket")
	options.Del("ssl-ca")
	config, err := mysql.ParseDSN("/?" + options.Encode())
	if err != nil {
		return nil, err
	}
	password, _ := u.User.Password()
	config.User, config.Passwd = u.User.Username(), cmp.Or(d.password(), password, os.Getenv("MYSQL_PWD"))
	config.Net, config.Addr = "tcp", net.JoinHostPort(cmp.Or(u.Hostname(), "127.0.0.1"), cmp.Or(u.Port(), "3306"))
	if socket != "" {
		config.Net, config.Addr = "unix", socket
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%q holds no certificate in PEM form", ca)
		}
		config.TLS = &tls.Config{RootCAs: pool, ServerName: u.Hostname()}
	}
	config.DBName = strings.TrimPrefix(u.Path, "/")
	config.Logger = &mysql.NopLogger{} // broken connections are returned as errors
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}
