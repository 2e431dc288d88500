package engines

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
)

// password of the administrators of the containers, which only 127.0.0.1 reaches.
const password = "xasql"

// container is a server in Docker.
type container struct {
	pool     *dockertest.Pool
	resource *dockertest.Resource
}

// image is how an engine's official image is run.
type image struct {
	port    string
	env     []string
	command []string
	mounts  []string // HOST:CONTAINER
	admin   url.URL
}

func imageOf(e Engine) image {
	switch e.Kind {
	case Postgres:
		return image{
			port: "5432/tcp",
			env:  []string{"POSTGRES_PASSWORD=" + password},
			// Durability settings stay as they are: crash tests would prove nothing without them.
			command: []string{"-c", "max_prepared_transactions=200", "-c", "max_connections=300"},
			admin:   url.URL{Scheme: "postgres", User: url.UserPassword("postgres", password), RawQuery: "sslmode=disable"},
		}
	case MySQL:
		return image{
			port:    "3306/tcp",
			env:     []string{"MYSQL_ROOT_PASSWORD=" + password},
			command: []string{"--max-connections=300"},
			admin:   url.URL{Scheme: "mysql", User: url.UserPassword("root", password)},
		}
	default:
		return image{
			port:    "3306/tcp",
			env:     []string{"MARIADB_ROOT_PASSWORD=" + password},
			command: []string{"--max-connections=300"},
			admin:   url.URL{Scheme: "mysql", User: url.UserPassword("root", password)},
		}
	}
}

// connect returns a pool of a Docker daemon that answers.
func connect() (*dockertest.Pool, error) {
	pool, err := dockertest.NewPool("")
	if err == nil {
		err = pool.Client.Ping()
	}
	if err != nil {
		return nil, fmt.Errorf("no Docker daemon answers (%w): run integration/setup.sh as root on Debian, or start Docker", err)
	}
	return pool, nil
}

// run starts a container of the engine's image. The server in it does not answer yet.
func run(pool *dockertest.Pool, e Engine, im image) (*container, *url.URL, error) {
	if err := ensureImage(pool, e); err != nil {
		return nil, nil, err
	}
	name, tag, _ := strings.Cut(e.Name, ":")
	var last error
	// Another process may take the port between its choice and its use.
	for range 10 {
		port, err := servers.freePort()
		if err != nil {
			return nil, nil, err
		}
		resource, err := pool.RunWithOptions(&dockertest.RunOptions{
			Repository: name, Tag: tag, Env: im.env, Cmd: im.command, Mounts: im.mounts, Labels: ownLabels(),
			// A port that Docker chooses changes when the container is started again.
			PortBindings: map[docker.Port][]docker.PortBinding{
				docker.Port(im.port): {{HostIP: "127.0.0.1", HostPort: strconv.Itoa(port)}},
			},
		})
		if err == nil {
			u := im.admin
			u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
			return &container{pool: pool, resource: resource}, &u, nil
		}
		last = err
	}
	return nil, nil, fmt.Errorf("run image %s: %w", e, last)
}

// ensureImage pulls the image where it is missing. Where no registry can be reached that fails soon.
func ensureImage(pool *dockertest.Pool, e Engine) error {
	_, err := pool.Client.InspectImage(e.Name)
	if err == nil {
		return nil
	}
	if !errors.Is(err, docker.ErrNoSuchImage) {
		return fmt.Errorf("image %s: %w", e, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	name, tag, _ := strings.Cut(e.Name, ":")
	err = pool.Client.PullImage(docker.PullImageOptions{
		Repository: name, Tag: tag, Context: ctx, InactivityTimeout: 20 * time.Second,
	}, docker.AuthConfiguration{})
	if err != nil {
		return fmt.Errorf("image %s is missing and can't be pulled (%w): run integration/setup.sh, which builds it, or set %s", e, err, e.Env())
	}
	return nil
}

// freePort chooses a port below the range that the kernel takes for outgoing connections: one out of that range
// could be taken while the server is down, even by a client's own attempt to reach the server, which
// then connects to itself. None is given twice, since a server that is down needs its own again.
func (p *process) freePort() (int, error) {
	const lowest, highest = 20000, 32000
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 100 {
		port := lowest + rand.IntN(highest-lowest)
		if p.ports[port] {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			p.ports[port] = true
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no free port between %d and %d", lowest, highest)
}

// kill returns when no process of the container is left.
func (c *container) kill() error { return kill(c.pool.Client, c.resource.Container.ID) }

func kill(client *docker.Client, id string) error {
	// On a loaded machine the daemon answers with an error after ten seconds without news of the end, which comes all the same.
	killed := client.KillContainer(docker.KillContainerOptions{ID: id, Signal: docker.SIGKILL})
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if _, err := client.WaitContainerWithContext(id, ctx); err != nil {
		return errors.Join(killed, err)
	}
	return nil
}

// start is nil where the container runs already.
func (c *container) start() error {
	err := c.pool.Client.StartContainer(c.resource.Container.ID, nil)
	if running := (*docker.ContainerAlreadyRunning)(nil); errors.As(err, &running) {
		return nil
	}
	return err
}

// died tells, with the end of its log, that the container does not run any more.
func (c *container) died() error {
	id := c.resource.Container.ID
	got, err := c.pool.Client.InspectContainer(id)
	if err != nil {
		return err
	}
	if got.State.Running {
		return nil
	}
	var out bytes.Buffer
	err = c.pool.Client.Logs(docker.LogsOptions{
		Container: id, OutputStream: &out, ErrorStream: &out, Stdout: true, Stderr: true, Tail: "30",
	})
	return errors.Join(fmt.Errorf("the container ended with status %d; the end of its log:\n%s", got.State.ExitCode, out.String()), err)
}

// remove removes the container and its data. Left to the removal, killing it could end with the error that kill does not mind.
func (c *container) remove() error {
	_ = c.kill() // the removal tells what is wrong
	return c.pool.Purge(c.resource)
}
