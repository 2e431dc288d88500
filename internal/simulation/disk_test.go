package simulation

import (
	"io"
	"log/slog"
	"slices"

	"github.com/xasql/xasql/internal/logfs"
	"github.com/xasql/xasql/internal/memdisk"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/txlog/logtest"
)

// openFiles opens the log in files on the world's disk, behind a gate; nil if that fails.
func (p *process) openFiles() txlog.Log {
	d := &gatedDisk{FS: p.w.disk, p: p}
	p.w.disk.Step = func(string, string) (f memdisk.Fault) {
		f, d.fault = d.fault, f
		return f
	}
	l, err := openOn(d)
	if err != nil {
		return nil
	}
	p.files = l
	return gatedLog{p, l}
}

func openOn(fsys logfs.FS) (*filelog.Log, error) {
	return filelog.OpenOn(fsys, "mem", &filelog.Options{Logger: slog.New(slog.DiscardHandler), SegmentSize: 4 << 10})
}

// log is the world's log without a gate: that of the process that lives, or what the next one will find.
func (w *world) log() realLog {
	if w.disk == nil {
		return w.memory
	}
	if p := w.processes[len(w.processes)-1]; p.files != nil && p.alive() {
		return p.files
	}
	found := memdisk.New()
	names, _ := w.disk.List()
	for _, name := range names {
		found.Put(name, slices.Clone(w.disk.Data(name)))
	}
	l, err := openOn(found)
	if err != nil {
		w.violate("blocked: the log can't be opened any more: %v", err)
		return logtest.NewMemory()
	}
	return l
}

// gatedDisk is the log's directory as a process has it. Its operations take no time, as the log may hold a mutex meanwhile.
type gatedDisk struct {
	logfs.FS
	p     *process
	fault memdisk.Fault // of the operation that is under way
}

// do is one operation that changes the disk: a point, at which what the schedule has for it happens.
func (d *gatedDisk) do(op string, act func() error) error {
	if d.p.isDead() {
		return errDead
	}
	ev := d.p.w.reach(&point{d.p.name, "log", "disk", op, 0}, false)
	switch ev {
	case crashBefore:
		d.p.crash(true)
		return errDead
	case crashAfter, killAfter:
		act()
		if ev == killAfter {
			d.p.end(true, (*memdisk.Disk).Kill)
		} else {
			d.p.crash(true)
		}
		return errDead
	case refused:
		d.fault = memdisk.Fault{Err: errDisk}
	case torn:
		d.fault = memdisk.Fault{Err: errDisk, Done: memdisk.Half}
	case failedAfter:
		d.fault = memdisk.Fault{Err: errDisk, Done: memdisk.All}
	case "":
	default:
		d.p.w.violate("event %q can't happen at the disk", ev)
	}
	return act()
}

func (d *gatedDisk) Open(name string, write bool) (logfs.File, error) {
	f, err := d.FS.Open(name, write)
	return gatedFile{f, d}, err
}

func (d *gatedDisk) Create(name string) (f logfs.File, err error) {
	err = d.do("create", func() error {
		f, err = d.FS.Create(name)
		return err
	})
	return gatedFile{f, d}, err
}

func (d *gatedDisk) Rename(from, to string) error {
	return d.do("rename", func() error { return d.FS.Rename(from, to) })
}

func (d *gatedDisk) Remove(name string) error {
	return d.do("remove", func() error { return d.FS.Remove(name) })
}

func (d *gatedDisk) SyncDir() error { return d.do("syncdir", d.FS.SyncDir) }

func (d *gatedDisk) Lock() (io.Closer, error) {
	if d.p.isDead() {
		return nil, errDead
	}
	return d.FS.Lock()
}

type gatedFile struct {
	logfs.File
	d *gatedDisk
}

func (f gatedFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.d.do("write", func() error {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, err
}

func (f gatedFile) Truncate(size int64) error {
	return f.d.do("truncate", func() error { return f.File.Truncate(size) })
}

func (f gatedFile) Sync() error { return f.d.do("sync", f.File.Sync) }
