package connect

import (
	"os"
	"path/filepath"
	"strings"
)

// optionFilePassword is the password that the option file of MySQL's own clients holds for this user, ~/.my.cnf, in its sections [client],
// [client-server] and [client-mariadb]; "" where it holds none, or can't be read.
func optionFilePassword() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(home, ".my.cnf"))
	if err != nil {
		return ""
	}
	return passwordOf(string(text))
}

// passwordOf reads an option file; of several passwords the last counts.
func passwordOf(text string) (password string) {
	ours := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			ours = line == "[client]" || line == "[client-server]" || line == "[client-mariadb]"
		case ours:
			key, value, found := strings.Cut(line, "=")
			if found && strings.TrimSpace(key) == "password" {
				password = optionValue(strings.TrimSpace(value))
			}
		}
	}
	return password
}

// optionValue undoes an option file's quotes, comments and escapes.
func optionValue(s string) string {
	if s != "" && (s[0] == '"' || s[0] == '\'') {
		if end := strings.LastIndexByte(s, s[0]); end > 0 {
			s = s[1:end]
		}
	} else if i := strings.IndexByte(s, '#'); i >= 0 {
		s = strings.TrimSpace(s[:i])
	}
	return strings.NewReplacer(`\b`, "\b", `\t`, "\t", `\n`, "\n", `\r`, "\r", `\\`, `\`, `\s`, " ", `\"`, `"`, `\'`, "'").Replace(s)
}
