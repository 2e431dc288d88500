// Package sqlite is the driver for SQLite.
package sqlite
