package connect

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestSplitFlagTakesNameBeforeTheFirstEqualsSign(t *testing.T) {
	for _, c := range []struct{ flag, name, url string }{
		{"orders=postgres://app@db1/orders", "orders", "postgres://app@db1/orders"},
		{"a.b_c-1=mysql://u:p%3D@h/d?x=y", "a.b_c-1", "mysql://u:p%3D@h/d?x=y"},
		{"s=sqlite:/tmp/a=b.db", "s", "sqlite:/tmp/a=b.db"},
	} {
		name, url, err := SplitFlag(c.flag)
		if name != c.name || url != c.url || err != nil {
			t.Errorf("SplitFlag(%q) = %q, %q, %v", c.flag, name, url, err)
		}
	}
}

func TestSplitFlagRefusesWhatIsNoResource(t *testing.T) {
	for _, flag := range []string{
		"", "orders", "=sqlite:x", "orders=", "or ders=sqlite:x", "orders/1=sqlite:x", "ordérs=sqlite:x",
		strings.Repeat("x", 65) + "=sqlite:x",
		"postgres://u:geheim@h/d?sslmode=require", // NAME= is missing
	} {
		name, url, err := SplitFlag(flag)
		if !errors.Is(err, ErrUsage) {
			t.Errorf("SplitFlag(%q) = %q, %q, %v, want ErrUsage", flag, name, url, err)
		}
		if err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error quotes a password: %v", err)
		}
	}
}

// Every URL holds the password "geheim", whole or in pieces that a parser would quote.
var badURLs = []string{
	"",
	"geheim",
	"//u:geheim@h/d",
	"oracle://u:geheim@h/d",
	"u:geheim@tcp(h:3306)/d",
	"postgres:u:geheim@h/d",
	"mysql:u:geheim@h/d",
	"mysql://geheim",
	"mysql://h/d?password=geheim",
	"mysql://u:geheim@h:33x06/d",
	"mysql://u:geheim@h:geheim/d",
	"mysql://u:geheim@h/d?parseTime=maybe",
	"mysql://u:geheim@h/d?tls=geheim",
	"mysql://u:geheim@h/d?strict=true",
	"mysql://u:geheim@h/d?timeout=long",
	"mysql://u:geheim@h/d?ssl-ca=/no/such/file",
	"mysql://u:geheim@h/d?x=%zz",
	"mysql://u:geheim%zz@h/d",
	"mysql://u:gehe@im@h/d",
	"mysql://u:gehe/im@h/d",
	"mysql://u:gehe im@h/d",
	"mysql://u:geheim@h/d%zz",
	"mysql://u:geheim@h/d#geheim",
	"postgres://u:geheim@h:54x32/d",
	"postgres://u:geheim@h1,h2:geheim/d",
	"postgres://u:geheim@[::1/d",
	"postgres://u:geheim@h/d?sslmode=geheim",
	"postgres://u:geheim@h/d?sslmode=maybe",
	"postgres://u:geheim@h/d?connect_timeout=geheim",
	"postgres://u:geheim@h/d?sslrootcert=/no/such/file&sslmode=verify-full",
	"postgres://u:geheim@h/d?%zz",
	"postgres://u@h/d?password=geheim&sslmode=maybe",
	"postgres://u@h/d?pass%77ord=geheim&sslmode=maybe",
	"postgres://u:geheim%zz@h/d",
	"postgres://u:gehe@im@h/d",
	"postgres://u:gehe/im@h/d",
	"postgres://u:1234/geheim@h/d",
	"postgres://u:gehe\nim@h/d",
	"postgres://u:geheim@h/d#geheim",
	"postgres://:geheim",
	"postgres://%geheim",
	"postgres://u:geheim%zz",
	"mysql://%geheim",
	"sqlite:",
	"sqlite:geheim\x00",
	"sqlite://geheim/x",
	"sqlite::memory:?geheim",
}

func TestErrorsTellNoSecret(t *testing.T) {
	for _, url := range badURLs {
		res, err := Resource("orders", url)
		if err == nil {
			res.DB.Close()
			t.Errorf("Resource(%q): no error", url)
			continue
		}
		if !errors.Is(err, ErrUsage) {
			t.Errorf("Resource(%q): %v is not ErrUsage", url, err)
		}
		if !strings.Contains(err.Error(), `"orders"`) {
			t.Errorf("Resource(%q): %v does not name the resource", url, err)
		}
		for _, piece := range []string{"geheim", "gehe", "im@", "1234", "://u:"} {
			if s := fmt.Sprintf("%v %+v %q", err, err, err); strings.Contains(s, piece) {
				t.Errorf("Resource(%q): the error tells %q: %s", url, piece, s)
			}
		}
		if p := (*pgconn.ParseConfigError)(nil); errors.As(err, &p) {
			t.Errorf("Resource(%q): pgx's error, which holds the whole URL, is in the chain", url)
		}
	}
}

func TestErrorsOfALogsURLTellNoSecret(t *testing.T) {
	for _, url := range append([]string{"x", "file:", "file://geheim/dir", "file:geheim\x00b", "log=file:geheim"}, badURLs...) {
		_, err := ParseLog(url)
		if !errors.Is(err, ErrUsage) {
			t.Errorf("ParseLog(%q): %v is not ErrUsage", url, err)
			continue
		}
		for _, piece := range []string{"geheim", "gehe", "im@", "1234", "://u:"} {
			if strings.Contains(err.Error(), piece) {
				t.Errorf("ParseLog(%q): the error tells %q: %v", url, piece, err)
			}
		}
	}
}

func TestPasswordVariableIsMadeOfTheName(t *testing.T) {
	if got, want := passwordVariable("eu.orders-2"), "XA_EU_ORDERS_2_PASSWORD"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzErrorsTellNoSecret writes a password where one stands in a URL, and anything after it.
func FuzzErrorsTellNoSecret(f *testing.F) {
	for _, url := range badURLs {
		scheme, rest, _ := strings.Cut(url, "://")
		user, after, _ := strings.Cut(rest, ":geheim")
		f.Add(scheme == "mysql", user, after)
	}
	f.Fuzz(func(t *testing.T, mysql bool, user, after string) {
		url := "postgres://"
		if mysql {
			url = "mysql://"
		}
		if strings.ContainsAny(user, "@/?#:") {
			return // what follows is no password
		}
		after = strings.NewReplacer("geheim", "", "ssl", "").Replace(after) // no file is read
		url += user + ":geheim" + after
		res, err := Resource("orders", url)
		if err == nil {
			res.DB.Close()
			return
		}
		if strings.Contains(err.Error(), "geheim") {
			t.Errorf("Resource(%q): %v", url, err)
		}
	})
}
