package config

import (
	"context"
	"errors"
	"fmt"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/xa"
)

// Manager is a transaction manager with the log and the pools that were opened for it.
type Manager struct {
	*xa.Manager
	// Resources are the databases, with their pools, in the order of the file.
	Resources []drivers.Resource

	log txlog.Log
}

// Open reads the file, opens the log, which is created where there is none yet, and the pools, and then the manager. Errors are those
// of [Read], of the log's Open and of [xa.Open]; nothing is left open then.
func Open(ctx context.Context, path string) (*Manager, error) {
	f, err := Read(path)
	if err != nil {
		return nil, err
	}
	return f.Open(ctx)
}

// Open opens what the file describes; see [Open].
func (f *File) Open(ctx context.Context) (_ *Manager, err error) {
	m := &Manager{}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.closeAll())
		}
	}()
	if f.Log.URL == "" || len(f.Resources) == 0 {
		return nil, invalid{errors.New("config: a manager needs log.url and at least one of resources")}
	}
	for _, r := range f.Resources {
		res, err := r.Open()
		if err != nil {
			return nil, err
		}
		m.Resources = append(m.Resources, res)
	}
	url, err := connect.ParseLog(f.Log.URL)
	if err != nil {
		return nil, invalid{fmt.Errorf("config: %w", err)}
	}
	password, err := f.Log.Password()
	if err != nil {
		return nil, err
	}
	if m.log, err = url.WithPassword(password, f.Log.PasswordFile).Open(ctx, connect.LogOptions{Retention: f.Log.Retention, Create: true}); err != nil {
		return nil, err
	}
	m.Manager, err = xa.Open(ctx, xa.Config{
		Log: m.log, Resources: m.Resources,
		Timeout: f.Timeout, CompletionTimeout: f.CompletionTimeout, RecoveryInterval: f.RecoveryInterval, RecoveryTimeout: f.RecoveryTimeout,
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Close closes the manager at once, as [xa.Manager.Close] does, and then the log and the pools. Call Shutdown before it to wait until
// nothing is in doubt.
func (m *Manager) Close() error {
	return errors.Join(m.Manager.Close(), m.closeAll())
}

func (m *Manager) closeAll() error {
	var errs []error
	if m.log != nil {
		errs = append(errs, m.log.Close())
	}
	for _, r := range m.Resources {
		errs = append(errs, r.DB.Close())
	}
	return errors.Join(errs...)
}
