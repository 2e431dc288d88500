// Package syncs counts how often SQLite syncs a file: for the tests of package sqlite, which promises so many a step.
package syncs
