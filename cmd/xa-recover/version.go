package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionResult is which program this is.
type versionResult struct {
	Command  string `json:"command"` // "version"
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source, where it was built from a repository
	Go       string `json:"go"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Tell which xa-recover this is",
		Args:  noArguments,
		RunE: a.action(func(context.Context, []string) (int, error) {
			r := &versionResult{Command: "version", Version: "unknown"}
			if info, ok := debug.ReadBuildInfo(); ok {
				r.Version, r.Go = cmp.Or(info.Main.Version, r.Version), info.GoVersion
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						r.Revision = s.Value
					}
				}
			}
			return statusSettled, a.print(r, func(w io.Writer) {
				fmt.Fprintf(w, "xa-recover %s", r.Version)
				if r.Revision != "" {
					fmt.Fprintf(w, " (%.12s)", r.Revision)
				}
				fmt.Fprintf(w, ", %s\n", r.Go)
			})
		}),
	}
}
