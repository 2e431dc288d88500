package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/recovery"
)

// maxEdits is how many letters of an ID may be wrong for it to be taken for a slip: the IDs of two transactions differ in more.
const maxEdits = 3

// maxOffered is how many IDs are offered that are as near.
const maxOffered = 3

// nearest returns the ID or XID, of those that list knows, that was meant by one that is not known; "" where it is known, or is like none.
func nearest(id string, report recovery.Report) string {
	var ids []string
	for _, b := range report.Branches(func(b recovery.Branch) bool { return b.Raw == "" }) {
		if b.XID.FormatID == drivers.FormatID {
			ids = append(ids, b.XID.GTRID)
		}
		ids = append(ids, b.XID.String())
	}
	for _, d := range report.Decisions {
		ids = append(ids, d.ID)
	}
	for _, n := range report.Notes {
		ids = append(ids, n.ID)
	}
	return nearestOf(id, ids)
}

// nearestOf prefers those that differ least, or that the ID is the beginning of. Of several that are as near, as of transactions of one moment,
// none is better: it returns them all, with "or" between them.
func nearestOf(id string, ids []string) string {
	var found []string
	best := maxEdits + 1
	for _, candidate := range slices.Sorted(slices.Values(ids)) { // whichever database answered first
		gtrid, _, _ := strings.Cut(id, "/")
		if candidate == id || candidate == gtrid {
			return ""
		}
		n := edits(id, candidate)
		if len(id) >= len(candidate)/2 && strings.HasPrefix(candidate, id) {
			n = 0
		}
		if n < best {
			found, best = nil, n
		}
		sameTransaction := func(other string) bool { return candidate == other || strings.HasPrefix(candidate, other+"/") }
		if n == best && n <= maxEdits && !slices.ContainsFunc(found, sameTransaction) {
			found = append(found, candidate)
		}
	}
	if len(found) > maxOffered {
		found = append(found[:maxOffered:maxOffered], fmt.Sprintf("one of %d others", len(found)-maxOffered))
	}
	return strings.Join(found, " or ")
}

// edits is how many letters must be added, taken out or replaced to make one text of the other (Levenshtein's distance).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// nearestFlag adds to the error of an unknown flag the one that was meant.
func nearestFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedName()) < 2 {
		return err
	}
	best, meant := maxEdits, ""
	see := func(f *pflag.Flag) {
		if n := edits(unknown.GetSpecifiedName(), f.Name); n < best {
			best, meant = n, f.Name
		}
	}
	cmd.Flags().VisitAll(see)
	cmd.InheritedFlags().VisitAll(see)
	if meant == "" {
		return err
	}
	return fmt.Errorf("%w: did you mean --%s?", err, meant)
}
