package connect

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOptionFilesPasswordIsReadAsMySQLsClientsDo(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "",
		"password=geheim":             "", // of no section
		"[client]\npassword=geheim\n": "geheim",
		"[mysqld]\npassword=x\n[client]\nuser=app\n  password = geheim  \n[mysqldump]\npassword=y": "geheim",
		"[client]\npassword=\"ge#heim\"\n":                       "ge#heim",
		"[client]\npassword='ge heim'\n":                         "ge heim",
		"[client]\npassword=geheim # of app\n":                   "geheim",
		"[client]\n#password=x\n;password=y\n":                   "",
		"[client]\npassword\n":                                   "",
		`[client]` + "\n" + `password=ge\\he\sim`:                `ge\he im`,
		"[client]\npassword=a\n[client-server]\npassword=geheim": "geheim",
	} {
		if got := passwordOf(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestOptionFileIsTheWeakestPassword(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("MYSQL_PWD", "")
	if err := os.WriteFile(filepath.Join(home, ".my.cnf"), []byte("[client]\npassword=file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	password := func(who account, raw string) string {
		t.Helper()
		u, err := parseServer(raw)
		if err != nil {
			t.Fatal(err)
		}
		config, err := mysqlConfig(who, u)
		if err != nil {
			t.Fatal(err)
		}
		return config.Passwd
	}
	if got := password(account{name: "stock"}, "mysql://app@h/d"); got != "file" {
		t.Errorf("got %q, want the file's", got)
	}
	if got := password(account{name: "stock", password: "given"}, "mysql://app@h/d"); got != "given" {
		t.Errorf("got %q, want the given one", got)
	}
	t.Setenv("MYSQL_PWD", "environment")
	if got := password(account{name: "stock"}, "mysql://app@h/d"); got != "environment" {
		t.Errorf("got %q, want the environment's", got)
	}
	if got := password(account{name: "stock"}, "mysql://app:url@h/d"); got != "url" {
		t.Errorf("got %q, want the URL's", got)
	}
}
