package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestColorsChangeNothingButTheColor(t *testing.T) {
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile("\x1b\\[[0-9;]*m")
	for _, f := range files {
		text, err := os.ReadFile("testdata/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if got := codes.ReplaceAllString(colored(string(text)), ""); got != string(text) {
			t.Errorf("%s is changed by its colours", f.Name())
		}
	}
	for text, want := range map[string]string{
		"paris     26h  aborted    roll back  k7/paris": "paris     26h  \x1b[33maborted\x1b[m    \x1b[33mroll back\x1b[m  k7/paris",
		"    the log says committed":                    "    the log says committed",
		"a: fatal: it can't be asked":                   "a: \x1b[1;31mfatal\x1b[m: it can't be asked",
	} {
		if got := colored(text); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestColorIsForTerminalsOnlyUnlessAskedFor(t *testing.T) {
	w := newWorld(t)
	w.doubt()
	colors := func(args ...string) bool {
		t.Helper()
		w.session.Reset()
		w.wantStatus(w.run(args...), 3)
		return strings.Contains(w.session.String(), "\x1b")
	}
	for _, c := range []struct {
		args []string
		want bool
	}{
		{[]string{"list"}, false},
		{[]string{"list", "--color", "never"}, false},
		{[]string{"list", "--color", "always"}, true},
		{[]string{"list", "--color", "always", "-o", "json"}, false},
	} {
		if got := colors(c.args...); got != c.want {
			t.Errorf("%v: colours %v, want %v", c.args, got, c.want)
		}
	}
	terminal, err := os.OpenFile("/dev/null", os.O_WRONLY, 0) // a character device, as a terminal is
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	for env, want := range map[string]bool{"": true, "NO_COLOR=1": false, "TERM=dumb": false} {
		a := &app{stdout: terminal, getenv: func(key string) string {
			name, value, _ := strings.Cut(env, "=")
			if name == key {
				return value
			}
			return ""
		}}
		a.flags.color = "auto"
		if got := a.wantsColor(); got != want {
			t.Errorf("on a terminal with %q: %v, want %v", env, got, want)
		}
	}
}
