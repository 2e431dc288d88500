package filelog

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

var documentedBytes = regexp.MustCompile(`(?m)^([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)`)

// TestTheDocumentedExampleIsWhatIsWritten compares the bytes in docs/filelog-format.md with those of the program.
func TestTheDocumentedExampleIsWhatIsWritten(t *testing.T) {
	doc, err := os.ReadFile("../../docs/filelog-format.md")
	if err != nil {
		t.Fatal(err)
	}
	segment, example, ok := strings.Cut(string(doc), "An archive of that log")
	if !ok {
		t.Fatal("the document has no example of an archive")
	}
	_, archive := goldenArchive(goldenID, 1, goldenSettled("goldenlog123.01H", txlog.Aborted, 1, "orders"), goldenSettled("goldenlog123.01K", txlog.Committed, 2, "orders"))
	for _, m := range documentedBytes.FindAllStringSubmatch(example, -1) {
		off, _ := strconv.ParseInt(m[1], 16, 64)
		b, _ := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		if !bytes.Equal(archive[off:off+int64(len(b))], b) {
			t.Errorf("%s: the document has\n% x\nthe program writes\n% x", m[1], b, archive[off:off+int64(len(b))])
		}
		clear(archive[off : off+int64(len(b))])
	}
	if !zero(archive) {
		t.Error("some bytes of the archive are not documented")
	}
	var told []byte
	for _, m := range documentedBytes.FindAllStringSubmatch(segment, -1) {
		if off, _ := strconv.ParseInt(m[1], 16, 64); int(off) != len(told) {
			t.Fatalf("the line of offset %s stands where offset %04x is due", m[1], len(told))
		}
		b, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, b...)
	}
	want := goldenSegment(goldenID, 1, true,
		[]record{{kindCommit, "goldenlog123.01K", []string{"orders", "ledger"}, goldenTime(1)}, {kind: kindSettle, id: "t0", at: goldenTime(2)}}, nil)
	if !bytes.Equal(told, want) {
		t.Errorf("the document has\n% x\nthe program writes\n% x", told, want)
	}
}

func TestTimesOutsideTheUsualAreKept(t *testing.T) {
	seed := newSeeder(goldenID, 1)
	for _, at := range []time.Time{{}, time.Unix(0, 0), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(-300, 1, 1, 0, 0, 0, 1, time.UTC)} {
		b := seed.appendRecord(nil, 64, &record{kind: kindAbort, id: "t", at: at})
		if r, _, err := seed.decodeRecord(b, 64, interner()); err != nil || !r.at.Equal(at) {
			t.Errorf("%s is read as %s, %v", at, r.at, err)
		}
		if _, _, err := seed.decodeRecord(b, 72, interner()); err == nil {
			t.Error("a record is valid at another offset")
		}
		if _, _, err := newSeeder(goldenID, 2).decodeRecord(b, 64, interner()); err == nil {
			t.Error("a record is valid in another segment")
		}
	}
}
