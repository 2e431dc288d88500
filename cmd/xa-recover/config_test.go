package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func (w *world) writeConfig(text string) {
	w.t.Helper()
	if w.dir == "" {
		w.dir = filepath.Join(w.t.TempDir(), "xasql.yaml")
	}
	if err := os.WriteFile(w.dir, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

const sharedConfig = `log:
  url: mem:log
resources:
  - {name: berlin, url: "mem:paris"}
  - {name: paris, url: "mem:paris"}
timeout: 30s
`

func TestConfigurationFileIsWeakerThanTheEnvironmentAndThatThanFlags(t *testing.T) {
	w := newWorld(t)
	w.env = map[string]string{}
	w.writeConfig(sharedConfig)
	w.prepare(1, time.Minute, "berlin", "paris")
	w.wantStatus(w.run("list", "--config", w.dir), 3)
	w.env["XA_CONFIG"] = w.dir
	w.env["XA_RESOURCES"] = "berlin=mem:berlin paris=sqlite:/no/such.db"
	w.wantStatus(w.run("resolve", "--resource", "paris=mem:paris"), 0)
	w.env["XA_LOG"] = "file:/no/such/log"
	w.wantStatus(w.run("list"), 1)
	w.golden("config")
}

func TestConfigurationThatIsWrongExitsTwoAndTellsNoSecret(t *testing.T) {
	w := newWorld(t)
	w.env = map[string]string{}
	for _, text := range []string{
		"log: [",
		"log: geheim",
		"lgo: {url: x}",
		"log: {url: 'mem:log', passwd: geheim}",
		"timeout: geheim",
		"timeout: -1s",
		"resources: [{url: 'mem:x'}]",
		"resources: [{name: x}]",
		"resources: [{name: 'x y', url: 'mem:x'}]",
		"resources: [{name: x, url: 'mem:x'}, {name: x, url: 'mem:y'}]",
		"log: {url: *geheim}",
		"",
	} {
		w.writeConfig(text)
		w.wantStatus(w.run("list", "-c", w.dir), 2)
	}
	w.writeConfig("log: {url: 'mem:log'}\nresources: [{name: x, url: 'postgres://u@127.0.0.1/d', password_file: /no/such/file}]")
	w.wantStatus(w.run("list", "-c", w.dir), 1)
	w.wantStatus(w.run("list", "-c", w.dir+".not"), 1)
	w.golden("config-wrong")
}
