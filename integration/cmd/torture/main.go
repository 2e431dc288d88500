package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

//go:embed doc.go
var manual string

// The exit statuses.
const (
	good     = 0
	violated = 1 // a wrong outcome, a hang, or a program that ended as it must not
	unproven = 2 // wrong usage, or the run could not be made
)

// errViolated is returned when something is wrong that has been told already.
var errViolated = errors.New("violated")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	err := dispatch(ctx, os.Args[1:])
	switch {
	case err == nil:
		return
	case errors.Is(err, errViolated):
		os.Exit(violated)
	}
	fmt.Fprintln(os.Stderr, "torture:", err)
	os.Exit(unproven)
}

// dispatch is one of the three programs that this one is: that which tortures, its workers, and the checker.
func dispatch(ctx context.Context, args []string) error {
	switch {
	case len(args) > 0 && args[0] == "worker":
		return work(ctx)
	case len(args) > 0 && args[0] == "check":
		return check(ctx, args[1:])
	}
	o, err := parse(args)
	if err != nil || o == nil {
		return err
	}
	if o.clean {
		return clean(ctx, o)
	}
	return torture(ctx, o)
}

// usage is this program's doc.go.
func usage() string {
	var out strings.Builder
	for line := range strings.Lines(manual) {
		if !strings.HasPrefix(line, "//") {
			break
		}
		out.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "//"), " "))
	}
	return out.String()
}
