package connect

import (
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/postgres"
)

func openPostgres(who account, raw string) (*sql.DB, drivers.Driver, error) {
	config, err := postgresConfig(who, raw)
	if err != nil {
		return nil, nil, err
	}
	u, err := parseServer(raw)
	if err != nil {
		return nil, nil, err
	}
	source := who.source(u.password != "" || u.query.Has("password"), "PGPASSWORD", "the pgpass file", config.Password)
	return sql.OpenDB(telling{stdlib.GetConnector(*config), source}), postgres.New(), nil
}

// postgresConfig leaves the URL to pgx, which knows all that libpq knows.
func postgresConfig(who account, raw string) (*pgx.ConnConfig, error) {
	u, err := parseServer(raw)
	if err != nil {
		return nil, err
	}
	secrets := append(u.query["password"], u.query["sslpassword"]...)
	secrets = append(secrets, u.password)
	config, err := pgx.ParseConfig(raw)
	if parseErr := (*pgconn.ParseConfigError)(nil); errors.As(err, &parseErr) {
		// Its own text quotes the whole URL, masked as far as pgx recognises a password.
		if err = parseErr.Unwrap(); err == nil {
			err = errors.New("its URL has a setting that can't be read")
		}
	}
	if err != nil {
		return nil, withoutSecrets(err, secrets...)
	}
	if p := who.secret(); p != "" && u.password == "" && !u.query.Has("password") {
		config.Password = p
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	return config, nil
}
