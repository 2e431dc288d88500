// Package connect turns the URLs that this repository's programs take into databases and decision logs:
//
//	postgres://USER@HOST:PORT/DATABASE   also postgresql://, with all that pgx and libpq know (several hosts, pgpass, PGPASSWORD, sslmode)
//	mysql://USER@HOST:PORT/DATABASE      also mariadb://, with the options of go-sql-driver's DSN, and socket=PATH and ssl-ca=FILE
//	sqlite:PATH                          the rest is the file's path as it is, with any character in it
//	file:DIR                             a decision log kept by package filelog; the rest is the directory's path as it is
//
// A decision log is at file:DIR or, kept by package sqllog, in a database at any of the others.
//
// A small program:
//
//	orders, err := connect.Resource("orders", "mysql://app@db1/orders")
//	if err != nil {
//		return err
//	}
//	defer orders.DB.Close()
//	log, err := connect.ReadLog("file:/var/lib/shop/xa")
//
// # Secrets
//
// A URL need not hold a password. Where it does not, the environment variable XA_NAME_PASSWORD is taken, NAME being the
// resource's name in capitals with every other character than a letter or a digit written as '_' (XA_ORDERS_PASSWORD); where
// that is not set either, the one that was given with [ResourceWith], and then what the engine's own clients use: pgx's PGPASSWORD and
// pgpass file, MYSQL_PWD and the password of ~/.my.cnf. The log's is
// XA_LOG_PASSWORD: a resource that is named log shares it, and if the two differ takes its own from one of the others.
//
// No error of this package contains a URL or a part of one that may be a password, however badly the URL is
// written.
//
// # Failure
//
// Nothing is contacted before a pool is used or a log is opened; a server that does not answer is an error after ten seconds, unless
// the URL sets another limit. A file or a log that is not there is an error, never created: except by [Create].
//
// # Concurrency
//
// The functions are safe for concurrent use.
package connect
