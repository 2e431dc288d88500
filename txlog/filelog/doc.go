// Package filelog is the embedded decision log: a directory that one process owns at a time.
//
//	log, err := filelog.Open("/var/lib/shop/txlog", nil)
//	if err != nil {
//		return err
//	}
//	defer log.Close()
//	manager, err := xa.Open(ctx, xa.Config{Log: log, Resources: resources})
//
// The directory holds append-only segments (00000001.xalog, ...), archives of settled decisions (00000001.settled, ...) and a file named
// lock. Their format is told byte by byte in docs/filelog-format.md. The directory must not be copied and used in two places: both would take themselves for
// the log whose identity it holds.
//
// # Failure
//
// What Decide acknowledged is on the disk: the log calls fdatasync (elsewhere fsync), and relies on that, and on sectors of the disk that are not
// written being left as they were. After a write or a sync failed the log is latched: it takes no more decisions until it
// is opened again, since nobody knows what a repeated sync would vouch for. A full disk is found before a decision
// is written: its Decide is ErrNotDecided.
//
// A crash leaves at most one batch unfinished, at the end, and nobody was told of it: Open cuts it and says so. The log
// writes a batch only when all before it is on the disk; so a bad batch with a good one after it is damage, and Open
// returns ErrCorrupt with file and offset. After every batch that no other follows at once, a mark is written,
// without a sync, so that damage to the very last decision, too, is told from a torn tail, except where
// the machine crashed before the mark reached the disk.
//
// # Size
//
// In memory are the notes, the unsettled decisions (about 250 bytes each), and those settled since the last compaction, which comes with each
// segment of 16 MiB, or when the log has doubled. Open reads these, and the headers of the archives, of which there are some dozens. Until its retention
// is over a settled decision stands in an archive. A new ID above all that are archived, as those of xa are, which begin with the time, is
// decided without reading. Any other is looked for in the archives whose range it lies in, by some twenty reads of 4 KiB in each.
//
// # Concurrency
//
// All methods are safe for concurrent use. Decisions that are made while a sync runs share the next; a lone one costs exactly one
// sync (and, once in some thousands, a few more for a new segment). Other openings of the directory, in any process, are refused with
// ErrOwned; [OpenReadOnly] works beside the owner.
package filelog
