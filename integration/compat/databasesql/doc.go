// Package databasesql compares the manager's handle with a plain one on real servers: random sequences of database/sql's calls, as
// package handletest makes them, have the same outcomes.
package databasesql
