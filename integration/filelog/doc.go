// Package filelog holds filelog against a second judge: a strict file system in memory that others keep, CockroachDB's pebble/vfs. filelog's own
// one, which its tests run on, was written by those who wrote the log.
package filelog
