package filelog

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

var golden = flag.Bool("golden", false, "make the golden logs that don't exist yet; those that exist are never changed")

const goldenID = "goldenlog123"

// goldenSegment composes a segment of batches.
func goldenSegment(id string, seq uint64, base bool, batches ...[]record) []byte {
	b := segmentHeader{id: id, seq: seq, base: base, created: goldenTime(0)}.encode()
	for _, records := range batches {
		b = newSeeder(id, seq).appendBatch(b, int64(len(b)), records)
	}
	return b
}

func goldenTime(s int) time.Time { return time.Date(2026, 5, 17, 10, 30, s, 123456789, time.UTC) }

// goldenLog is the log that the defects are made of: t1 is settled; t2, t3 and t4 are not.
func goldenLog() map[string][]byte {
	seal := []record{{kind: kindSeal, at: goldenTime(9)}}
	return map[string][]byte{
		segmentName(1): goldenSegment(goldenID, 1, true,
			[]record{{kindRegister, "orders", []string{"pg-7301/shop"}, goldenTime(1)}},
			[]record{{kindCommit, "t1", []string{"orders", "ledger"}, goldenTime(2)}}, seal),
		segmentName(2): goldenSegment(goldenID, 2, false,
			[]record{{kind: kindSettle, id: "t1", at: goldenTime(3)}, {kindCommit, "t2", []string{"orders"}, goldenTime(3)}}, seal),
		segmentName(3): goldenSegment(goldenID, 3, false,
			[]record{{kindAbort, "t3", []string{"ledger"}, goldenTime(4)}},
			[]record{{kindCommit, "t4", []string{"orders", "ledger"}, goldenTime(5)}}),
	}
}

// defect is one golden log, and what opening it must show.
type defect struct {
	name    string
	make    func(map[string][]byte)
	open    []string // the unsettled decisions
	proofs  []string // the evidence of unsettled decisions: ID, resource, text
	notes   []string // what is noted: ID, kind, resource, author, text, and the second of its time
	missing []string // IDs of which nothing may be known: Undecided, or on a corrupt log ErrCorrupt
	unread  []string // IDs of which nothing can be known although the log opens: ErrCorrupt
	warned  bool     // a tail is cut
	refused string   // what Open's error contains; "" where it opens
	reads   bool     // OpenReadOnly works although Open refuses
}

func defects() []defect {
	last, middle := segmentName(3), segmentName(2)
	seed := newSeeder(goldenID, 3)
	mark := func(b []byte) []byte { return seed.appendBatch(b, int64(len(b)), nil) }
	zeros := make([]byte, 200)
	torn := func(b []byte) []byte {
		return seed.appendBatch(b, int64(len(b)), []record{{kindCommit, "t5", []string{"orders"}, goldenTime(6)}, {kindCommit, "t6", []string{"ledger"}, goldenTime(6)}})
	}
	at := func(b []byte, text string) int { return strings.LastIndex(string(b), text) }
	all := []string{"t2", "t3", "t4"}
	return append([]defect{
		{name: "ok", make: func(m map[string][]byte) { m[last] = append(mark(m[last]), zeros...) }, open: all},
		{name: "torn-tail", make: func(m map[string][]byte) {
			b := torn(m[last])
			m[last] = append(b[:at(b, "ledger")], zeros...)
		}, open: all, missing: []string{"t5", "t6"}, warned: true},
		{name: "torn-over-mark", make: func(m map[string][]byte) { // the beginning of the torn batch is missing
			b := torn(m[last])
			m[last] = append(mark(m[last]), b[len(m[last])+batchHeaderSize:]...)
		}, open: all, missing: []string{"t5", "t6"}, warned: true},
		{name: "zero-tail", make: func(m map[string][]byte) { m[last] = append(m[last], zeros...) }, open: all},
		{name: "short-write", make: func(m map[string][]byte) {
			b := torn(m[last])
			m[last] = b[:len(b)-5]
		}, open: all, missing: []string{"t5", "t6"}, warned: true},
		{name: "flipped-middle", make: func(m map[string][]byte) { m[last][at(m[last], "t3")] ^= 0x10 },
			open: []string{"t2", "t4"}, missing: []string{"t3"}, refused: last + "+64: record 16 bytes into the batch: crc is ", reads: true},
		{name: "flipped-sealed", make: func(m map[string][]byte) { m[middle][at(m[middle], "t2")] ^= 0x10 },
			open: []string{"t3", "t4"}, missing: []string{"t2"}, refused: middle + "+64: record ", reads: true},
		{name: "flipped-last", make: func(m map[string][]byte) {
			m[last][at(m[last], "t4")] ^= 0x10
			m[last] = append(m[last], zeros...)
		}, open: []string{"t2", "t3"}, missing: []string{"t4"}, warned: true},
		{name: "flipped-last-marked", make: func(m map[string][]byte) {
			m[last] = append(mark(m[last]), zeros...)
			m[last][at(m[last], "t4")] ^= 0x10
		}, open: []string{"t2", "t3"}, missing: []string{"t4"}, refused: last + "+", reads: true},
		{name: "flipped-header", make: func(m map[string][]byte) { m[middle][33] ^= 0x10 },
			open: all, refused: middle + "+0: header: crc is ", reads: true},
		{name: "missing-segment", make: func(m map[string][]byte) { delete(m, middle) },
			open: []string{"t1", "t3", "t4"}, missing: []string{"t2"}, refused: middle + "+0: the segment is missing", reads: true},
		{name: "missing-first-segment", make: func(m map[string][]byte) { delete(m, segmentName(1)) },
			open: all, missing: []string{"t1"}, refused: segmentName(1) + "+0: the segment is missing", reads: true},
		{name: "missing-last-segment", make: func(m map[string][]byte) { delete(m, last) },
			open: []string{"t2"}, missing: []string{"t3", "t4"}, refused: last + "+0: the segment is missing", reads: true},
		{name: "duplicate-segment", make: func(m map[string][]byte) { m[segmentName(4)] = m[last] },
			open: all, refused: segmentName(4) + "+0: it is a copy of segment 3", reads: true},
		{name: "foreign-segment", make: func(m map[string][]byte) {
			m[middle] = goldenSegment("strangerslog", 2, false, []record{{kindCommit, "t2", nil, goldenTime(3)}})
		}, open: []string{"t1", "t3", "t4"}, missing: []string{"t2"}, refused: middle + "+0: it belongs to the log strangerslog", reads: true},
		{name: "future-version", make: func(m map[string][]byte) { binary.LittleEndian.PutUint32(m[last][8:], 2) },
			refused: last + ": format version is 2, this program reads 1"},
		{name: "future-record", make: func(m map[string][]byte) {
			m[last] = seed.appendBatch(m[last], int64(len(m[last])), []record{{200, "t5", []string{"orders"}, goldenTime(6)}})
		}, refused: last + ": record 16 bytes into the batch: format version is 1 with records of kind "},
		{name: "interrupted-roll", make: func(m map[string][]byte) {
			m[segmentName(4)] = goldenSegment(goldenID, 4, false)
			m[segmentName(5)+tmpSuffix] = zeros
		}, open: all},
		{name: "interrupted-compaction", make: func(m map[string][]byte) { // the new segment has its name; the old are still there
			m[middle] = goldenSegment(goldenID, 2, true,
				[]record{{kindRegister, "orders", []string{"pg-7301/shop"}, goldenTime(1)}, {kindCommit, "t1", nil, goldenTime(2)},
					{kind: kindSettle, id: "t1", at: goldenTime(3)}, {kindCommit, "t2", []string{"orders"}, goldenTime(3)}, {kind: kindSeal, at: goldenTime(9)}})
		}, open: all},
		{name: "notes", make: goldenNotes, open: all, notes: []string{
			"t2 committed by hand  alice both databases were restored 2", "t0 heuristic orders xa-recover pg: branch is gone 4", "t2 heuristic ledger alice – 5"}},
		{name: "evidence", make: goldenEvidence, open: all, proofs: []string{"t2 orders 7301.1/4711", "t4 ledger @1732295000123456/4712"}},
		{name: "evidence-of-none", make: func(m map[string][]byte) { // three texts are not two by two
			m[last] = seed.appendBatch(m[last], int64(len(m[last])), []record{{kindEvident, "t5", []string{"orders", "ledger", "7301.1/4713"}, goldenTime(6)}})
			m[last] = mark(m[last])
		}, open: all, missing: []string{"t5"}, refused: last + "+", reads: true},
	}, archiveDefects()...)
}

// goldenEvidence is a log after a compaction, in which one decision with evidence came before, and one after.
func goldenEvidence(m map[string][]byte) {
	delete(m, segmentName(1))
	m[segmentName(2)] = goldenSegment(goldenID, 2, true,
		[]record{{kindRegister, "orders", []string{"pg-7301/shop"}, goldenTime(1)}, {kindCommit, "t1", []string{"orders"}, goldenTime(2)},
			{kind: kindSettle, id: "t1", at: goldenTime(3)}, {kindEvident, "t2", []string{"orders", "7301.1/4711"}, goldenTime(3)}, {kind: kindSeal, at: goldenTime(9)}})
	m[segmentName(3)] = goldenSegment(goldenID, 3, false,
		[]record{{kindAbort, "t3", []string{"ledger"}, goldenTime(4)}},
		[]record{{kindEvident, "t4", []string{"orders", "ledger", "", "@1732295000123456/4712"}, goldenTime(5)}}, nil)
}

// goldenNotes is a log after a compaction, in which some notes came before and some after. The first of a kind stands until they are forgotten.
func goldenNotes(m map[string][]byte) {
	delete(m, segmentName(1))
	note := func(id string, k txlog.NoteKind, resource, by, text string, s int) record {
		return record{kindNote, id, []string{string([]byte{byte(k)}), resource, by, text}, goldenTime(s)}
	}
	m[segmentName(2)] = goldenSegment(goldenID, 2, true,
		[]record{{kindRegister, "orders", []string{"pg-7301/shop"}, goldenTime(1)}, {kindCommit, "t1", []string{"orders"}, goldenTime(2)},
			{kind: kindSettle, id: "t1", at: goldenTime(3)}, note("t2", txlog.CommittedByHand, "", "alice", "both databases were restored", 2),
			{kindCommit, "t2", []string{"orders"}, goldenTime(3)}, note("t3", txlog.AbortedByHand, "", "bob", "a mistake", 3), {kind: kindSeal, at: goldenTime(9)}})
	b := m[segmentName(3)]
	for _, records := range [][]record{
		{note("t0", txlog.Heuristic, "orders", "xa-recover", "pg: branch is gone", 4), note("t2", txlog.Heuristic, "ledger", "alice", "–", 5)},
		{{kind: kindForget, id: "t3", at: goldenTime(6)}, note("t2", txlog.CommittedByHand, "", "bob", "once more", 6)},
		{{kind: kindForget, id: "never noted", at: goldenTime(7)}},
		nil,
	} {
		b = newSeeder(goldenID, 3).appendBatch(b, int64(len(b)), records)
	}
	m[segmentName(3)] = b
}

// goldenArchive composes an archive.
func goldenArchive(id string, number uint64, entries ...archived) (*archive, []byte) {
	m := newMemFS()
	f, _ := m.Create("archive")
	w := newArchiveWriter(f, id, number, minBlockSize)
	for _, e := range entries {
		if err := w.add(e); err != nil {
			panic(err)
		}
	}
	a, err := w.finish()
	if err != nil {
		panic(err)
	}
	return a, m.Data("archive")
}

func goldenSettled(id string, o txlog.Outcome, s int, resources ...string) archived {
	return archived{id: []byte(id), outcome: byte(o), resources: resources, sec: goldenTime(s).Unix(), nsec: 123456789, settledAt: goldenTime(s + 1).UnixNano()}
}

// archiveDefects are made of the log after a compaction: t1, and some before it, are in an archive.
func archiveDefects() []defect {
	name, all := archiveName(2), []string{"t2", "t3", "t4"}
	a, file := goldenArchive(goldenID, 2, goldenSettled("t0", txlog.Aborted, 1, "orders"), goldenSettled("t01", txlog.Aborted, 1, "orders"),
		goldenSettled("t1", txlog.Committed, 2, "orders", "ledger"))
	archived := func(change func(map[string][]byte)) func(map[string][]byte) {
		return func(m map[string][]byte) {
			delete(m, segmentName(1))
			m[segmentName(2)] = goldenSegment(goldenID, 2, true,
				[]record{{kindRegister, "orders", []string{"pg-7301/shop"}, goldenTime(1)}, {kindCommit, "t2", []string{"orders"}, goldenTime(3)},
					a.record(), {kind: kindSeal, at: goldenTime(9)}})
			m[name] = slices.Clone(file)
			change(m)
		}
	}
	_, other := goldenArchive(goldenID, 2, goldenSettled("t1", txlog.Aborted, 2))
	_, foreign := goldenArchive("strangerslog", 2, goldenSettled("t1", txlog.Aborted, 2))
	_, unlisted := goldenArchive(goldenID, 3, goldenSettled("t2", txlog.Aborted, 3))
	return []defect{
		{name: "archived", make: archived(func(map[string][]byte) {}), open: all, missing: []string{"t00", "t11"}},
		{name: "archive-missing", make: archived(func(m map[string][]byte) { delete(m, name) }),
			open: all, missing: []string{"t1", "t0"}, refused: name + "+0: the archive is missing", reads: true},
		{name: "archive-truncated", make: archived(func(m map[string][]byte) { m[name] = m[name][:5000] }),
			open: all, missing: []string{"t1", "t0"}, refused: name + "+0: it has 5000 bytes, of 8192", reads: true},
		{name: "archive-flipped-byte", make: archived(func(m map[string][]byte) { m[name] = flip(m[name], 4096+15) }),
			open: all, unread: []string{"t1", "t0", "t00"}},
		{name: "archive-flipped-header", make: archived(func(m map[string][]byte) { m[name] = flip(m[name], 40) }),
			open: all, missing: []string{"t1", "t0"}, refused: name + "+0: header: crc is ", reads: true},
		{name: "archive-foreign", make: archived(func(m map[string][]byte) { m[name] = foreign }),
			open: all, missing: []string{"t1", "t0"}, refused: name + "+0: it belongs to the log strangerslog", reads: true},
		{name: "archive-replaced", make: archived(func(m map[string][]byte) { m[name] = other }),
			open: all, missing: []string{"t1", "t0"}, refused: name + "+0: it is another archive", reads: true},
		{name: "archive-future-version", make: archived(func(m map[string][]byte) { m[name][8] = 2 }),
			refused: name + ": format version is 2, this program reads 1"},
		{name: "archive-unlisted", make: archived(func(m map[string][]byte) { // a compaction that did not come to its end
			m[archiveName(3)] = unlisted
			m[archiveName(4)+tmpSuffix] = unlisted[:4000]
			m[segmentName(3)+tmpSuffix] = unlisted[:40]
		}), open: all, missing: []string{"t00"}},
	}
}

func goldenDir(d defect) string { return filepath.Join("testdata", "log", "v1", d.name) }

func makeGolden(t *testing.T, d defect) {
	if _, err := os.Stat(goldenDir(d)); err == nil {
		return
	}
	files := goldenLog()
	d.make(files)
	if err := os.MkdirAll(goldenDir(d), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(goldenDir(d), name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGoldenLogs(t *testing.T) {
	for _, d := range defects() {
		t.Run(d.name, func(t *testing.T) {
			if *golden {
				makeGolden(t, d)
			}
			dir := copyDir(t, goldenDir(d))
			checkReadOnly(t, d, dir)
			logger, warnings := capture()
			l, err := Open(dir, &Options{Logger: logger})
			if d.refused != "" {
				if err == nil {
					l.Close()
				}
				if err == nil || !strings.Contains(err.Error(), d.refused) || errors.Is(err, txlog.ErrCorrupt) != d.reads {
					t.Errorf("Open: %v, want %q", err, d.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkDecisions(t, d, l)
			if warned := strings.Contains(warnings.String(), "tail of the decision log cut"); warned != d.warned {
				t.Errorf("warnings: %q", warnings)
			}
			mustDecide(t, l, "appended")
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			d.open = append(slices.Clone(d.open), "appended")
			warnings.Reset()
			l = mustOpen(t, dir, &Options{Logger: logger})
			checkDecisions(t, d, l)
			if warnings.Len() > 0 {
				t.Errorf("the second opening warns: %s", warnings)
			}
		})
	}
}

func checkReadOnly(t *testing.T, d defect, dir string) {
	t.Helper()
	before := contents(t, dir)
	l, err := OpenReadOnly(dir)
	if !maps.Equal(before, contents(t, dir)) {
		t.Error("OpenReadOnly changes the directory")
	}
	if d.refused != "" && !d.reads {
		if err == nil || !strings.Contains(err.Error(), d.refused) {
			t.Errorf("OpenReadOnly: %v, want %q", err, d.refused)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Info().Damage; errors.Is(got, txlog.ErrCorrupt) != d.reads {
		t.Errorf("damage is %v", got)
	}
	checkVerify(t, d, dir)
	checkDecisions(t, d, l)
}

// checkVerify expects the same damage of Verify as of Open, at the same file, and the tail.
func checkVerify(t *testing.T, d defect, dir string) {
	t.Helper()
	v, err := Verify(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	damaged := d.reads || d.unread != nil
	if v.ID != goldenID || v.Owner != "" || v.Unsettled != len(d.open) || errors.Is(v.Damage, txlog.ErrCorrupt) != damaged || damaged && !strings.Contains(v.Damage.Error(), d.refused) {
		t.Errorf("%+v", v)
	}
	cut, bad := false, false
	for _, f := range v.Files {
		cut = cut || f.Cut > 0
		bad = bad || f.Damage != nil
		if f.Damage != nil && !strings.Contains(f.Damage.Error(), dir+"/"+f.Name+"+") {
			t.Errorf("%s: %v", f.Name, f.Damage)
		}
	}
	if entries, _ := os.ReadDir(dir); cut != d.warned || bad != damaged || len(v.Files) < len(entries) {
		t.Errorf("%+v", v.Files)
	}
}

func checkDecisions(t *testing.T, d defect, l *Log) {
	t.Helper()
	if l.ID() != goldenID {
		t.Errorf("ID is %q", l.ID())
	}
	corrupt := l.Info().Damage != nil
	var open, proofs []string
	var end error
	for d, err := range l.Unsettled(t.Context()) {
		if end = err; err == nil {
			open = append(open, d.ID)
		}
		for i, e := range d.Evidence {
			if e != "" {
				proofs = append(proofs, d.ID+" "+d.Resources[i]+" "+e)
			}
		}
	}
	if !slices.Equal(proofs, d.proofs) {
		t.Errorf("the evidence is %q, want %q", proofs, d.proofs)
	}
	if !slices.Equal(open, d.open) || errors.Is(end, txlog.ErrCorrupt) != corrupt {
		t.Errorf("unsettled are %q, then %v; want %q", open, end, d.open)
	}
	for _, id := range d.missing {
		if o, err := l.Lookup(t.Context(), id); o != txlog.Undecided || errors.Is(err, txlog.ErrCorrupt) != corrupt {
			t.Errorf("Lookup(%q) = %s, %v", id, o, err)
		}
	}
	for _, id := range d.unread {
		if o, err := l.Lookup(t.Context(), id); o != txlog.Undecided || !errors.Is(err, txlog.ErrCorrupt) {
			t.Errorf("Lookup(%q) = %s, %v", id, o, err)
		}
	}
	for id, want := range map[string]txlog.Outcome{"t1": txlog.Committed, "t2": txlog.Committed, "t3": txlog.Aborted, "t4": txlog.Committed} {
		if o, err := l.Lookup(t.Context(), id); !slices.Contains(d.missing, id) && !slices.Contains(d.unread, id) && (o != want || err != nil) {
			t.Errorf("Lookup(%q) = %s, %v, want %s", id, o, err, want)
		}
	}
	var notes []string
	for n, err := range l.Noted(t.Context(), "") {
		if end = err; err == nil {
			notes = append(notes, fmt.Sprintf("%s %s %s %s %s %d", n.ID, n.Kind, n.Resource, n.By, n.Text, n.At.Second()))
		}
	}
	if !slices.Equal(notes, d.notes) || errors.Is(end, txlog.ErrCorrupt) != corrupt {
		t.Errorf("noted are %q, then %v; want %q", notes, end, d.notes)
	}
	if identity, err := l.Registered(t.Context(), "orders"); identity != "pg-7301/shop" && !slices.Contains(d.missing, "t1") {
		t.Errorf("Registered = %q, %v", identity, err)
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		info, _ := e.Info()
		files[e.Name()] = fmt.Sprint(info.ModTime(), string(b))
	}
	return files
}

// TestTheFormatStands: what this program writes is what it wrote when the golden logs were made.
func TestTheFormatStands(t *testing.T) {
	for _, d := range defects() {
		want := goldenLog()
		d.make(want)
		for name, b := range want {
			got, err := os.ReadFile(filepath.Join(goldenDir(d), name))
			if err != nil || string(got) != string(b) {
				t.Errorf("%s/%s differs: %v", d.name, name, err)
			}
		}
	}
}
