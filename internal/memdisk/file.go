package memdisk

import (
	"io"
	"io/fs"
)

type file struct {
	d     *Disk
	n     *inode
	name  string
	write bool
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if fault := f.d.step("read", f.name); fault.Err != nil {
		return 0, fault.Err
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if !f.write {
		return 0, fs.ErrPermission
	}
	fault := f.d.step("write", f.name)
	err := fault.Err
	if err != nil {
		switch fault.Done {
		case Half:
			p = p[:len(p)/2]
		case Nothing, Never:
			return 0, err
		}
	}
	if f.d.full != nil && int(off)+len(p) > len(f.n.data) {
		p, err = p[:max(0, len(f.n.data)-int(off))], f.d.full
	}
	end := int(off) + len(p)
	if end > len(f.n.data) {
		f.n.data = resize(f.n.data, end)
		f.n.size = true
	}
	copy(f.n.data[off:], p)
	for s := int(off) / sector; s*sector < end; s++ {
		f.n.dirty[s] = true
	}
	return len(p), err
}

func (f *file) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *file) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if fault := f.d.step("truncate", f.name); fault.Err != nil {
		return fault.Err
	}
	f.n.data = resize(f.n.data, int(size))
	f.n.size = true
	return nil
}

func (f *file) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	fault := f.d.step("sync", f.name)
	if fault.Err != nil {
		if fault.Done != Never {
			clear(f.n.dirty)
		}
		return fault.Err
	}
	f.n.disk = resize(f.n.disk, len(f.n.data))
	for s := range f.n.dirty {
		from, to := s*sector, min((s+1)*sector, len(f.n.data))
		if from < to {
			copy(f.n.disk[from:to], f.n.data[from:to])
		}
	}
	f.n.size = false
	clear(f.n.dirty)
	return nil
}

func (f *file) Close() error { return nil }
