package connect

import (
	"cmp"
	"errors"
	"net/url"
	"os"
	"strings"
)

// serverURL are the parts of SCHEME://USER:PASSWORD@HOST/PATH?QUERY. Its errors are fixed texts: those of net/url quote
// what they could not read, and that may be a piece of a password.
type serverURL struct {
	user     string
	password string
	host     string // with the port, as written
	path     string // without the leading slash, as written
	query    url.Values
}

var errEscape = errors.New("its URL can't be read: in user, password and database write every character that is not a letter or a digit as %XX (an '@' as %40)")

func parseServer(raw string) (serverURL, error) {
	var u serverURL
	_, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return u, errors.New("its URL lacks the // after the scheme: write SCHEME://USER@HOST/DATABASE")
	}
	if strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return u, errEscape
	}
	// As libpq and pgx do: only a slash ends the search for the '@' that ends the user's part.
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		user, password, _ := strings.Cut(rest[:i], ":")
		var err error
		if u.user, err = url.PathUnescape(user); err != nil {
			return u, errEscape
		}
		if u.password, err = url.PathUnescape(password); err != nil {
			return u, errEscape
		}
		rest = rest[i+1:]
	}
	if strings.ContainsAny(rest, "@#") {
		return u, errEscape // an unescaped password went on into host or path: nothing of it may reach a server or a text
	}
	rest, query, _ := strings.Cut(rest, "?")
	u.host, u.path, _ = strings.Cut(rest, "/")
	var err error
	if u.query, err = url.ParseQuery(query); err != nil {
		return u, errEscape
	}
	for _, part := range []string{u.host, u.path} {
		if _, err := url.PathUnescape(part); err != nil {
			return u, errEscape
		}
	}
	if !hostReadable(u.host) {
		return u, errors.New("its URL has a port that is not a number")
	}
	return u, nil
}

// hostReadable tells whether every port in a list of hosts is a number.
func hostReadable(hosts string) bool {
	for host := range strings.SplitSeq(hosts, ",") {
		if i := strings.LastIndexByte(host, ']'); i >= 0 {
			host = host[i+1:]
		}
		if _, port, ok := strings.Cut(host, ":"); ok && strings.Trim(port, "0123456789") != "" {
			return false
		}
	}
	return true
}

// account is whose password is looked for.
type account struct {
	name     string // the resource's
	password string // where neither its URL nor the environment holds one
	file     string // that this one is from
}

// secret returns the password that the environment holds for this resource, or the one that was given.
func (a account) secret() string {
	return cmp.Or(os.Getenv(passwordVariable(a.name)), a.password)
}

// passwordVariable returns the name of the variable that holds the resource's password, e.g. XA_ORDERS_PASSWORD.
func passwordVariable(name string) string {
	b := []byte(strings.ToUpper(name))
	for i, c := range b {
		if !alphanumeric(c) {
			b[i] = '_'
		}
	}
	return "XA_" + string(b) + "_PASSWORD"
}

// withoutSecrets returns a driver's explanation of what is wrong with a URL, or a fixed text where it
// quotes a secret.
func withoutSecrets(err error, secrets ...string) error {
	for _, s := range secrets {
		if s != "" && strings.Contains(err.Error(), s) {
			return errEscape
		}
	}
	return errors.New(err.Error()) // not wrapped: what is in the chain may hold the URL
}
