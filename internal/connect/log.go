package connect

import (
	"log/slog"
	"strings"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
)

// Log opens the log that the URL names, as its owner. A log that does not exist is an error: an empty new one in its place
// would take every branch in doubt for another log's. A URL that can't be read is ErrUsage; an owned log is
// txlog.ErrOwned. The caller closes it. The logger is told what a person should know; nil: slog.Default().
func Log(url string, logger *slog.Logger) (txlog.Log, error) {
	dir, err := logDir(url)
	if err != nil {
		return nil, err
	}
	// Open creates what is missing, reading does not: look first.
	r, err := filelog.OpenReadOnly(dir)
	if err != nil {
		return nil, err
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	log, err := filelog.Open(dir, &filelog.Options{Logger: logger})
	if err != nil {
		return nil, err // and no interface that holds a nil pointer
	}
	return log, nil
}

// ReadLog opens the log to be read: beside its owner, and without permission to write. Errors are as Log's.
func ReadLog(url string) (txlog.Log, error) {
	dir, err := logDir(url)
	if err != nil {
		return nil, err
	}
	log, err := filelog.OpenReadOnly(dir)
	if err != nil {
		return nil, err
	}
	return log, nil
}

func logDir(url string) (string, error) {
	rest, ok := strings.CutPrefix(url, "file:")
	if !ok {
		return "", usagef("the log's URL does not begin with file: (write file:DIR)")
	}
	dir, err := localPath("file", rest)
	if err != nil {
		return "", usagef("log: %w", err)
	}
	return dir, nil
}
