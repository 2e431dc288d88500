package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manCommand writes the manual page. It stays out of the help: docs/xa-recover.1 is made by it, and held to it by a test.
func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man",
		Short:  "Write the manual page, in roff",
		Hidden: true,
		Args:   noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.started = true
			var b strings.Builder
			manual(&b, cmd.Root())
			if _, err := io.WriteString(a.stdout, b.String()); err != nil {
				return writeError(err)
			}
			return nil
		},
	}
}

// manual writes the commands' own help as a manual page.
func manual(w io.Writer, root *cobra.Command) {
	fmt.Fprintf(w, ".TH XA-RECOVER 8 \"\" xasql\n.SH NAME\nxa-recover \\- %s\n", roff(strings.ToLower(root.Short[:1])+root.Short[1:]))
	fmt.Fprint(w, ".SH SYNOPSIS\n.B xa-recover\n[\\fIflags\\fR] \\fIcommand\\fR [\\fIargument\\fR]\n.SH DESCRIPTION\n")
	prose(w, root.Long)
	fmt.Fprint(w, ".SH OPTIONS\n")
	options(w, root.PersistentFlags())
	fmt.Fprint(w, ".SH COMMANDS\n")
	commands(w, root, "")
	fmt.Fprint(w, ".SH SEE ALSO\ndocs/operations.md tells what to do when, with units for cron, systemd and Kubernetes.\n")
}

func commands(w io.Writer, parent *cobra.Command, prefix string) {
	for _, c := range parent.Commands() {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		fmt.Fprintf(w, ".SS %s\n", roff(prefix+c.Use))
		prose(w, c.Long)
		if c.Long == "" {
			prose(w, c.Short+".")
		}
		options(w, c.LocalNonPersistentFlags())
		commands(w, c, prefix+c.Name()+" ")
	}
}

// prose keeps paragraphs, and the lines of what is indented.
func prose(w io.Writer, s string) {
	verbatim := false
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, "\n")
		if indented := strings.HasPrefix(line, "  "); indented != verbatim {
			fmt.Fprintln(w, map[bool]string{true: ".nf", false: ".fi"}[indented])
			verbatim = indented
		}
		if line == "" {
			line = ".PP"
		} else {
			line = roff(line)
		}
		fmt.Fprintln(w, line)
	}
	if verbatim {
		fmt.Fprintln(w, ".fi")
	}
}

func options(w io.Writer, flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		fmt.Fprintf(w, ".TP\n\\fB%s\\fR", roff(name))
		if value != "" {
			fmt.Fprintf(w, " \\fI%s\\fR", roff(value))
		}
		fmt.Fprintf(w, "\n%s\n", roff(usage))
	})
}

// roff makes text of what would be a request or an escape.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
