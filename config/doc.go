// Package config reads the file that an application and the command xa-recover share, so that the two can't disagree about which
// databases there are, and what they are called:
//
//	m, err := config.Open(ctx, "/etc/shop/xasql.yaml")
//	if err != nil {
//		return err
//	}
//	defer m.Close()
//	err = m.Do(ctx, nil, transfer)
//
// It knows the three engines of this project, and opens their pools itself. An application that has pools already, or other drivers, calls
// xa.Open with them, and may still have its names and the log's place from [Read].
//
// # The file
//
// It is YAML. An unknown key is an error. docs/xasql.sample.yaml shows every one:
//
//	log:
//	  url: file:/var/lib/shop/xalog     # or a database's, where the log is kept in tables
//	  retention: 24h
//	resources:
//	  - name: orders                    # part of every XID: never change it while anything is in doubt
//	    url: postgres://app@db1/orders
//	    password_file: /run/secrets/orders
//	  - name: stock
//	    url: mysql://app@db2/stock
//	timeout: 1m                         # and completion_timeout, recovery_interval, recovery_timeout
//
// # Secrets
//
// A password is best kept out of the file. In order, the first that is there is taken: the one in the URL, the environment
// variable XA_NAME_PASSWORD (XA_ORDERS_PASSWORD; the log's is XA_LOG_PASSWORD), the file that password_file names, without its last line
// end, and what the engine's own clients use (PGPASSWORD and the pgpass file, MYSQL_PWD and ~/.my.cnf). No error of this package tells one.
//
// # Failure
//
// What is wrong with a file is told with its name and line. Nothing is contacted by [Read].
package config
