package txid

import (
	"testing"
	"time"
)

func TestNewCarriesLogAndTime(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123).UTC()
	id := New("k7f3q2ma", "", at)
	logID, got, ok := Split(id)
	if !ok || logID != "k7f3q2ma" || !got.Equal(at) {
		t.Fatalf("Split(%q) = %q, %v, %v", id, logID, got, ok)
	}
	if !Belongs(id, "k7f3q2ma") || Belongs(id, "k7f3q2m") {
		t.Fatal("Belongs does not compare the whole log identity")
	}
}

func TestNewIsUniqueAndOrderedByTime(t *testing.T) {
	seen := map[string]bool{}
	prev := ""
	for i := range 10_000 {
		id := New("a", "", time.UnixMilli(int64(i)))
		if seen[id] || id <= prev {
			t.Fatalf("%q after %q", id, prev)
		}
		seen[id], prev = true, id
	}
}

func TestSplitRefusesOtherTexts(t *testing.T) {
	for _, s := range []string{"", "a", "a.", ".01ARZ3NDEKTSV4RRFFQ69G5FAV", "a.01ARZ3NDEKTSV4RRFFQ69G5FA", "a.81ARZ3NDEKTSV4RRFFQ69G5FAV",
		"a.01ARZ3NDEKTSV4RRFFQ69G5FAI", "a.01ARZ3NDEKTSV4RRFFQ69G5FAV.b"} {
		if _, _, ok := Split(s); ok {
			t.Errorf("Split(%q) took it", s)
		}
	}
	if _, _, ok := Split("a.01ARZ3NDEKTSV4RRFFQ69G5FAV"); !ok {
		t.Error("Split refused the ULID of the specification's own example")
	}
}
