package engines

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
)

// Labels of this project's containers: which process on which host owns it. The start time tells a
// process from a later one of the same number.
const (
	labelHost  = "xasql.integration.host"
	labelPID   = "xasql.integration.pid"
	labelStart = "xasql.integration.start"
)

func ownLabels() map[string]string {
	host, _ := os.Hostname()
	pid := strconv.Itoa(os.Getpid())
	return map[string]string{labelHost: host, labelPID: pid, labelStart: startOf(pid)}
}

// sweep removes the containers of test processes that are gone: a process that is killed with SIGKILL, or that go test
// ends at its time limit, can't remove its own.
func sweep(pool *dockertest.Pool) error {
	host, _ := os.Hostname()
	found, err := pool.Client.ListContainers(docker.ListContainersOptions{
		All: true, Filters: map[string][]string{"label": {labelHost + "=" + host}},
	})
	if err != nil {
		return err
	}
	for _, c := range found {
		if startOf(c.Labels[labelPID]) == c.Labels[labelStart] {
			continue
		}
		_ = kill(pool.Client, c.ID) // the removal tells what is wrong
		err := pool.Client.RemoveContainer(docker.RemoveContainerOptions{ID: c.ID, Force: true, RemoveVolumes: true})
		var gone *docker.NoSuchContainer
		// Another test process may be sweeping as well.
		if err != nil && !errors.As(err, &gone) && !removing(err) {
			return err
		}
		fmt.Fprintf(os.Stderr, "engines: removed a container of %s that process %s left behind\n", c.Image, c.Labels[labelPID])
	}
	return nil
}

func removing(err error) bool {
	var apiErr *docker.Error
	return errors.As(err, &apiErr) && apiErr.Status == 409
}

// startOf returns when the process was started, in the kernel's ticks since boot together with the boot's own id, or
// "" when there is no such process.
func startOf(pid string) string {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return ""
	}
	// The second field, the command in parentheses, may hold blanks; the start time is the 20th after it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return ""
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(fields[19]) + "@" + string(bytes.TrimSpace(boot))
}
