package filelog

import (
	"fmt"
	"log/slog"
	"time"
)

// Options are the optional settings of [Open]. The zero value of each is its default.
type Options struct {
	// Logger is told what a person should know: a tail that was cut, a compaction that failed. Default slog.Default().
	Logger *slog.Logger
	// Retention is how long a settled decision stays readable, at least, so that a database that comes back older than
	// it was still gets the right answer. It is kept in an archive: about 35 bytes of disk for each, and no memory. Default 24 hours; negative: none.
	Retention time.Duration
	// SegmentSize is the size in bytes at which a new segment is begun, and compaction considered. Default 16 MiB, at least 4 KiB.
	SegmentSize int64
	// Existing refuses to make a log where there is none: with a wrong path an empty log would otherwise take every transaction of the right
	// one for undecided. The error is then fs.ErrNotExist. Default: the log is made where there is none.
	Existing bool

	extent int64 // how far ahead of its end a segment is filled with zeros
	fs     fileSystem
	now    func() time.Time
	spawn  func(func()) // runs a compaction beside the log
}

func (o *Options) withDefaults(dir string) (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.SegmentSize == 0 {
		opts.SegmentSize = 16 << 20
	}
	if opts.SegmentSize < 4<<10 {
		return opts, fmt.Errorf("SegmentSize is %d: it must be at least 4096 bytes", opts.SegmentSize)
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Retention == 0 {
		opts.Retention = 24 * time.Hour
	}
	if opts.extent == 0 {
		opts.extent = min(256<<10, opts.SegmentSize) // no segment grows beyond its size by more than a batch
	}
	if opts.fs == nil {
		opts.fs = osDir(dir)
	}
	if opts.now == nil {
		opts.now = time.Now
	}
	if opts.spawn == nil {
		opts.spawn = func(f func()) { go f() }
	}
	return opts, nil
}
