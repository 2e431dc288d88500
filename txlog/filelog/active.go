package filelog

// segment is the one that is appended to.
type segment struct {
	file   file
	seq    uint64
	seed   seeder
	end    int64 // where the next batch goes
	zeroed int64 // the file is filled with zeros up to here
	buf    []byte
}

// createSegment makes a segment under a temporary name, and gives it its own once it is whole.
func (l *Log) createSegment(seq uint64, base bool) (*segment, error) {
	name := segmentName(seq)
	f, err := l.fs.Create(name + tmpSuffix)
	if err != nil {
		return nil, err
	}
	h := segmentHeader{id: l.id, seq: seq, base: base, created: l.opts.now()}
	s := &segment{file: f, seq: seq, seed: newSeeder(l.id, seq), end: headerSize}
	_, err = f.WriteAt(h.encode(), 0)
	if err == nil {
		s.zeroed = headerSize
		err = s.reserve(0, l.opts.extent)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.fs.Rename(name+tmpSuffix, name)
	}
	if err == nil {
		err = l.fs.SyncDir()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

// append writes a batch at the segment's end, and syncs it. Space is had first: a full disk is found out
// before anything of the batch is written, when it is still certain that nothing was decided.
func (s *segment) append(batch []byte, extent int64) (attempted bool, err error) {
	if err := s.reserve(int64(len(batch)), extent); err != nil {
		return false, err
	}
	if _, err := s.file.WriteAt(batch, s.end); err != nil {
		return true, err
	}
	if err := s.file.Sync(); err != nil {
		return true, err
	}
	s.end += int64(len(batch))
	return true, nil
}

// reserve fills the file with zeros so far that n bytes and a mark fit.
func (s *segment) reserve(n, extent int64) error {
	need := s.end + n + batchHeaderSize
	if need <= s.zeroed {
		return nil
	}
	zeros := make([]byte, need+extent-s.zeroed)
	if _, err := s.file.WriteAt(zeros, s.zeroed); err != nil {
		return err
	}
	s.zeroed += int64(len(zeros))
	return nil
}

// mark notes, without a sync, that all before the segment's end is on the disk. The next batch is written over it.
func (s *segment) mark() error {
	s.buf = s.seed.appendBatch(s.buf[:0], s.end, nil)
	_, err := s.file.WriteAt(s.buf, s.end)
	return err
}

// roll begins a new segment, and seals the one before. The seal comes last: where it stands, the next segment exists.
func (l *Log) roll() error {
	next, err := l.createSegment(l.active.seq+1, false)
	if err != nil {
		return err
	}
	old := l.active
	seal := old.seed.appendBatch(nil, old.end, []record{{kind: kindSeal, at: l.opts.now()}})
	if _, err := old.append(seal, 0); err != nil {
		next.file.Close()
		return err
	}
	l.active = next
	l.mu.Lock()
	l.sealed = append(l.sealed, sealedSegment{old.seq, old.end})
	l.mu.Unlock()
	l.compactIfDue(0)
	// It is on the disk, and is opened again when it is read: nothing hangs on how this ends.
	_ = old.file.Close()
	return nil
}
