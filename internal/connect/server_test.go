package connect

import (
	"context"
	"net"
	"testing"
	"time"
)

func TestMySQLConfigTakesEachPartAsItIs(t *testing.T) {
	u, err := parseServer("mysql://o%2Fneil:p%40ss%3A%2F%28w%29%3F%23@[::1]:3307/my%2Fdb?tls=true&readTimeout=5s&charset=utf8mb4,utf8&xa_detach_on_prepare=1")
	if err != nil {
		t.Fatal(err)
	}
	c, err := mysqlConfig(account{name: "orders"}, u)
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]any{
		"user":           {c.User, "o/neil"},
		"password":       {c.Passwd, "p@ss:/(w)?#"},
		"net":            {c.Net, "tcp"},
		"addr":           {c.Addr, "[::1]:3307"},
		"database":       {c.DBName, "my/db"},
		"tls":            {c.TLSConfig, "true"},
		"read timeout":   {c.ReadTimeout, 5 * time.Second},
		"timeout":        {c.Timeout, connectTimeout},
		"session option": {c.Params["xa_detach_on_prepare"], "1"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %v, want %v", what, pair[0], pair[1])
		}
	}
	if c.TLS != nil {
		t.Errorf("TLS is set up for %q, before the address was", c.TLS.ServerName)
	}
}

func TestMySQLDefaults(t *testing.T) {
	for _, c := range []struct{ url, net, addr string }{
		{"mysql://u@db1/d", "tcp", "db1:3306"},
		{"mariadb://u@db1:1/d", "tcp", "db1:1"},
		{"mysql://u@/d", "tcp", "127.0.0.1:3306"},
		{"mysql://u@[::1]", "tcp", "[::1]:3306"},
		{"mysql://u@/d?socket=/run/mysqld/mysqld.sock", "unix", "/run/mysqld/mysqld.sock"},
	} {
		u, err := parseServer(c.url)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		config, err := mysqlConfig(account{name: "orders"}, u)
		if err != nil || config.Net != c.net || config.Addr != c.addr {
			t.Errorf("%s: got %+v, %v; want %s %s", c.url, config, err, c.net, c.addr)
		}
	}
}

func TestPasswordComesFromURLThenResourceVariableThenClient(t *testing.T) {
	mysqlPassword := func(url string) string {
		u, err := parseServer(url)
		if err != nil {
			t.Fatal(err)
		}
		c, err := mysqlConfig(account{name: "orders"}, u)
		if err != nil {
			t.Fatal(err)
		}
		return c.Passwd
	}
	postgresPassword := func(url string) string {
		c, err := postgresConfig(account{name: "orders"}, url)
		if err != nil {
			t.Fatal(err)
		}
		return c.Password
	}
	for _, engine := range []struct {
		name     string
		variable string
		password func(url string) string
		scheme   string
	}{{"mysql", "MYSQL_PWD", mysqlPassword, "mysql"}, {"postgres", "PGPASSWORD", postgresPassword, "postgres"}} {
		t.Setenv(engine.variable, "client")
		t.Setenv("XA_ORDERS_PASSWORD", "")
		if got := engine.password(engine.scheme + "://u@h/d"); got != "client" {
			t.Errorf("%s: got %q from %s", engine.name, got, engine.variable)
		}
		t.Setenv("XA_ORDERS_PASSWORD", "resource")
		if got := engine.password(engine.scheme + "://u@h/d"); got != "resource" {
			t.Errorf("%s: got %q from XA_ORDERS_PASSWORD", engine.name, got)
		}
		if got := engine.password(engine.scheme + "://u:url%40@h/d"); got != "url@" {
			t.Errorf("%s: got %q from the URL", engine.name, got)
		}
	}
}

func TestPostgresConfigIsPgxs(t *testing.T) {
	c, err := postgresConfig(account{name: "orders"}, "postgresql://o%27neil:p%23@h1:5433,h2:5434/d?sslmode=disable&target_session_attrs=primary")
	if err != nil {
		t.Fatal(err)
	}
	if c.User != "o'neil" || c.Password != "p#" || c.Host != "h1" || c.Port != 5433 || c.Database != "d" || len(c.Fallbacks) != 1 {
		t.Errorf("got %s:%s@%s:%d/%s and %d fallbacks", c.User, c.Password, c.Host, c.Port, c.Database, len(c.Fallbacks))
	}
	if c.ConnectTimeout != connectTimeout {
		t.Errorf("connect timeout is %v, want %v", c.ConnectTimeout, connectTimeout)
	}
	if c, err = postgresConfig(account{name: "orders"}, "postgres://u@h/d?connect_timeout=3"); err != nil || c.ConnectTimeout != 3*time.Second {
		t.Errorf("connect timeout is %v, %v, want 3s", c.ConnectTimeout, err)
	}
}

// A server that accepts connections and says nothing must not hang anybody.
func TestSilentServerIsReportedInTime(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, url := range []string{
		"postgres://u@" + l.Addr().String() + "/d?connect_timeout=1&sslmode=disable",
		"mysql://u@" + l.Addr().String() + "/d?timeout=1s",
	} {
		res, err := Resource("orders", url)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := res.DB.PingContext(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("%s: answered %v, and the context %v; want an end without it", url, err, ctx.Err())
		}
		cancel()
		res.DB.Close()
	}
}

func TestGivenPasswordIsWeakerThanURLAndEnvironment(t *testing.T) {
	who := account{name: "orders", password: "given"}
	password := func(url string) [2]string {
		t.Helper()
		u, err := parseServer("mysql" + url)
		if err != nil {
			t.Fatal(err)
		}
		my, err := mysqlConfig(who, u)
		if err != nil {
			t.Fatal(err)
		}
		pg, err := postgresConfig(who, "postgres"+url)
		if err != nil {
			t.Fatal(err)
		}
		return [2]string{my.Passwd, pg.Password}
	}
	t.Setenv("MYSQL_PWD", "client")
	t.Setenv("PGPASSWORD", "client")
	if got := password("://u@h/d"); got != [2]string{"given", "given"} {
		t.Errorf("given: got %q", got)
	}
	t.Setenv("XA_ORDERS_PASSWORD", "environment")
	if got := password("://u@h/d"); got != [2]string{"environment", "environment"} {
		t.Errorf("environment: got %q", got)
	}
	if got := password("://u:url@h/d"); got != [2]string{"url", "url"} {
		t.Errorf("URL: got %q", got)
	}
}
