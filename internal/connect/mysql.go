package connect

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/mysql"
)

func openMySQL(who account, raw string) (*sql.DB, drivers.Driver, error) {
	u, err := parseServer(raw)
	if err != nil {
		return nil, nil, err
	}
	config, err := mysqlConfig(who, u)
	if err != nil {
		return nil, nil, withoutSecrets(err, u.password)
	}
	connector, err := mysqldriver.NewConnector(config)
	if err != nil {
		return nil, nil, withoutSecrets(err, u.password)
	}
	source := who.source(u.password != "", "MYSQL_PWD", "~/.my.cnf", config.Passwd)
	return sql.OpenDB(telling{patient{connector, config.Timeout}, source}), mysql.New(), nil
}

// patient limits how long a new connection may take: the driver's own limit ends with the TCP connection, and a
// server that accepts it and then says nothing would be waited for without end.
type patient struct {
	driver.Connector
	limit time.Duration
}

// Connect implements driver.Connector.
func (p patient) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	return p.Connector.Connect(ctx)
}

// mysqlConfig sets user, password, address and database one by one: pasted into a DSN, a '/', '@' or ')' in them
// would be read as punctuation. Only the options go through the driver's parser, encoded.
func mysqlConfig(who account, u serverURL) (*mysqldriver.Config, error) {
	if u.user == "" {
		return nil, errors.New("its URL has no user: write mysql://USER@HOST/DATABASE")
	}
	if u.query.Has("strict") {
		return nil, errors.New("option strict is no longer known") // the driver's parser panics
	}
	options := u.query
	socket, ca := options.Get("socket"), options.Get("ssl-ca")
	options.Del("socket")
	options.Del("ssl-ca")
	// A comma stays as it is: the driver does not decode it in the list of character sets.
	config, err := mysqldriver.ParseDSN("/?" + strings.ReplaceAll(options.Encode(), "%2C", ","))
	if err != nil {
		return nil, err
	}
	// What the parser made of tls= is for another address; NewConnector makes it again for this one.
	config.TLS = nil
	config.User = u.user
	config.Passwd = cmp.Or(u.password, who.secret(), os.Getenv("MYSQL_PWD"))
	if config.Passwd == "" {
		config.Passwd = optionFilePassword()
	}
	if config.DBName, err = url.PathUnescape(u.path); err != nil {
		return nil, errEscape
	}
	config.Net, config.Addr = "tcp", hostPort(u.host)
	if socket != "" {
		config.Net, config.Addr = "unix", socket
	}
	if ca != "" {
		if config.TLS, err = trusting(ca); err != nil {
			return nil, err
		}
	}
	config.Timeout = cmp.Or(config.Timeout, connectTimeout)
	// The driver prints a line for each broken connection; callers get it as an error.
	config.Logger = &mysqldriver.NopLogger{}
	return config, nil
}

// hostPort completes HOST[:PORT] with the defaults.
func hostPort(host string) string {
	h, port, err := net.SplitHostPort(host)
	if err != nil {
		h, port = strings.Trim(host, "[]"), ""
	}
	return net.JoinHostPort(cmp.Or(h, "127.0.0.1"), cmp.Or(port, "3306"))
}

// trusting returns a TLS configuration that trusts only the certificate authorities in the PEM file.
func trusting(caFile string) (*tls.Config, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("option ssl-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("option ssl-ca: %q holds no certificate in PEM form", caFile)
	}
	return &tls.Config{RootCAs: pool}, nil
}
