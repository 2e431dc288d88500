package main

import (
	"io"
	"os"
	"strings"
)

// sgr are the terminal's codes for the words that a glance should find: decisions, results and severities.
var sgr = map[string]string{
	"commit": "32", "committed": "32", "fit": "32", "well": "32",
	"roll back": "33", "rolled back": "33", "aborted": "33", "undecided": "33", "left": "33", "stays": "33", "wait": "33", "warnings": "33",
	"heuristic": "1;31", "unfit": "1;31", "unknown": "1;31",
}

// colored gives the words their colours where they are all of a table's cell, which two blanks part from the next.
func colored(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		cells := strings.Split(line, "  ")
		for j, cell := range cells {
			word := strings.TrimSpace(cell)
			if code := sgr[word]; code != "" {
				cells[j] = strings.Replace(cell, word, "\x1b["+code+"m"+word+"\x1b[m", 1)
			}
		}
		line = strings.Join(cells, "  ")
		for severity, code := range map[string]string{"fatal": "1;31", "warning": "33"} {
			line = strings.Replace(line, ": "+severity+": ", ": \x1b["+code+"m"+severity+"\x1b[m: ", 1)
		}
		lines[i] = line
	}
	return strings.Join(lines, "\n")
}

// wantsColor tells whether standard output is to have colours.
func (a *app) wantsColor() bool {
	switch a.flags.color {
	case "always":
		return true
	case "never":
		return false
	}
	return isTerminal(a.stdout) && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
