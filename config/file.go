package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/connect"
)

// File is what a configuration file says.
type File struct {
	Log       Log        `yaml:"log"`
	Resources []Resource `yaml:"resources"`

	// As in xa.Config, which tells the defaults. xa-recover has no use for them.
	Timeout           time.Duration `yaml:"timeout"`
	CompletionTimeout time.Duration `yaml:"completion_timeout"`
	RecoveryInterval  time.Duration `yaml:"recovery_interval"`
	RecoveryTimeout   time.Duration `yaml:"recovery_timeout"`
}

// Log is where the decision log is kept.
type Log struct {
	URL          string        `yaml:"url"`
	PasswordFile string        `yaml:"password_file"`
	Retention    time.Duration `yaml:"retention"` // zero: the log's own default
}

// Resource is one database.
type Resource struct {
	Name         string `yaml:"name"`
	URL          string `yaml:"url"`
	PasswordFile string `yaml:"password_file"`
}

// ErrInvalid is returned when a configuration file can't be used as it is written.
var ErrInvalid = errors.New("invalid configuration")

// invalid is ErrInvalid, and has the text of what is wrong only.
type invalid struct{ error }

func (e invalid) Is(target error) bool { return target == ErrInvalid }
func (e invalid) Unwrap() error        { return e.error }

// Read reads the file. A file that is wrong is ErrInvalid; one that can't be read is the operating system's error. Nothing is
// contacted, and no password is read.
func Read(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	f := &File{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(f); err != nil && !errors.Is(err, io.EOF) {
		return nil, invalid{fmt.Errorf("config: %s: %s", path, unquoted(err))}
	}
	if err := f.validate(); err != nil {
		return nil, invalid{fmt.Errorf("config: %s: %w", path, err)}
	}
	return f, nil
}

// unquoted is the parser's error on one line, without anything of the file but the names of keys: a value may be a password.
func unquoted(err error) string {
	var types *yaml.TypeError
	if !errors.As(err, &types) {
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		if where, _, found := strings.Cut(text, "unknown anchor"); found {
			text = where + "a value that begins with * must be quoted"
		}
		return text
	}
	var lines []string
	for _, line := range types.Errors {
		where, what, _ := strings.Cut(line, ": ")
		field, unknown := strings.CutPrefix(what, "field ")
		switch {
		case unknown:
			key, _, _ := strings.Cut(field, " not found")
			what = "unknown key " + key
		case strings.HasSuffix(what, "time.Duration"):
			what = "a duration is written like 30s or 24h"
		default:
			what = "this value has not the form that belongs here"
		}
		lines = append(lines, where+": "+what)
	}
	return strings.Join(lines, "; ")
}

func (f *File) validate() error {
	var seen []string
	for i, r := range f.Resources {
		switch {
		case r.Name == "":
			return fmt.Errorf("resources[%d] has no name", i)
		case r.URL == "":
			return fmt.Errorf("resource %q has no url", r.Name)
		case slices.Contains(seen, r.Name):
			return fmt.Errorf("two resources are named %q", r.Name)
		}
		seen = append(seen, r.Name)
		if _, _, err := connect.SplitFlag(r.Name + "=" + r.URL); err != nil {
			return err
		}
	}
	for key, d := range map[string]time.Duration{"timeout": f.Timeout, "completion_timeout": f.CompletionTimeout,
		"recovery_interval": f.RecoveryInterval, "recovery_timeout": f.RecoveryTimeout} {
		if d < 0 {
			return fmt.Errorf("%s is negative", key)
		}
	}
	return nil
}

// Open makes a pool for the database. Nothing is contacted. The caller closes the resource's DB.
func (r Resource) Open() (drivers.Resource, error) {
	password, err := secret(r.PasswordFile)
	if err != nil {
		return drivers.Resource{}, fmt.Errorf("config: resource %q: %w", r.Name, err)
	}
	res, err := connect.ResourceWith(r.Name, r.URL, password, r.PasswordFile)
	if err != nil {
		return drivers.Resource{}, fmt.Errorf("config: %w", err)
	}
	return res, nil
}

// Password reads the log's password, "" where the file names none.
func (l Log) Password() (string, error) {
	password, err := secret(l.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("config: log: %w", err)
	}
	return password, nil
}

// secret reads a password from its file, without the line end that editors put at its end.
func secret(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	s := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	return s, nil
}
