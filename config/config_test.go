package config_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/config"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/xa"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSampleIsReadAsItSays(t *testing.T) {
	f, err := config.Read("../docs/xasql.sample.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if f.Log.URL != "file:/var/lib/shop/xalog" || f.Log.Retention != 24*time.Hour || len(f.Resources) != 3 || f.Resources[1].PasswordFile != "/run/secrets/stock" {
		t.Errorf("got %+v", f)
	}
	if f.Timeout != time.Minute || f.CompletionTimeout != 10*time.Second || f.RecoveryInterval != 30*time.Second || f.RecoveryTimeout != 10*time.Second {
		t.Errorf("the defaults that it tells: %+v", f)
	}
}

func TestErrorNamesTheLineAndNoValue(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"resources:\n  - name: x\n    url: u\n    pasword: geheim\n": "line 4: unknown key pasword",
		"log:\n  url: u\ntimeout: geheim\n":                          "line 3: ",
		"log:\n  url: {geheim: 1}\n":                                 "line 2: ",
		"log:\n\turl: geheim\n":                                      "line 2: ",
		"log: {url: *geheim}\n":                                      "",
		"log: {url: \"\\geheim\"}\n":                                 "",
	} {
		_, err := config.Read(write(t, dir, "xasql.yaml", text))
		if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestManagerOfAFileCommitsAndLeavesNothingOpen(t *testing.T) {
	dir := t.TempDir()
	text := "log: {url: 'file:" + dir + "/log'}\nresources:\n"
	for _, name := range []string{"orders", "stock"} {
		res, err := connect.Create(name, "sqlite:"+dir+"/"+name+".db")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := res.DB.ExecContext(t.Context(), "CREATE TABLE t (x INTEGER PRIMARY KEY)"); err != nil {
			t.Fatal(err)
		}
		res.DB.Close()
		text += "  - {name: " + name + ", url: 'sqlite:" + dir + "/" + name + ".db'}\n"
	}
	path := write(t, dir, "xasql.yaml", text)
	for range 2 { // the second finds everything free
		m, err := config.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		err = m.Do(t.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			for _, r := range m.Resources {
				if _, err := m.DB(r.Name).ExecContext(ctx, "INSERT INTO t VALUES (NULL)"); err != nil {
					return err
				}
			}
			return nil
		})
		if err := errors.Join(err, m.Close()); err != nil {
			t.Fatal(err)
		}
		if err := m.Resources[0].DB.PingContext(t.Context()); err == nil {
			t.Error("a pool is still open")
		}
	}
}

func TestFileThatIsNotEnoughForAManagerIsInvalid(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"", "log: {url: 'file:x'}", "resources: [{name: x, url: 'sqlite:x'}]", "log: {url: 'x:y'}\nresources: [{name: x, url: 'sqlite:" + dir + "/x'}]"} {
		if m, err := config.Open(t.Context(), write(t, dir, "xasql.yaml", text)); !errors.Is(err, config.ErrInvalid) || m != nil {
			t.Errorf("%q: got %v, %v", text, m, err)
		}
	}
}

func TestPasswordIsTakenFromItsFile(t *testing.T) {
	dir := t.TempDir()
	l := config.Log{PasswordFile: write(t, dir, "secret", "ge heim\r\n")}
	if got, err := l.Password(); err != nil || got != "ge heim" {
		t.Errorf("got %q, %v", got, err)
	}
	r := config.Resource{Name: "x", URL: "postgres://u@h/d", PasswordFile: dir + "/none"}
	if _, err := r.Open(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
