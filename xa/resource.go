package xa

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/recovery"
)

// resource is a database and what the manager knows of it.
type resource struct {
	Resource
	m        *Manager
	handle   *sql.DB // of Manager.DB
	branches *sql.DB // behind every Branch's own methods

	admitting busy // one admission at a time

	mu    sync.Mutex // guards what follows
	fit   bool       // its server was found fit for XA
	known bool       // it is the database that the log knows under its name
}

func newResource(m *Manager, r Resource) *resource {
	res := &resource{Resource: r, m: m, admitting: make(busy, 1)}
	res.handle, res.branches = newHandle(res), newBranches(res)
	return res
}

// admitAll checks the databases that answer, and settles what is in doubt. A database that can't work is an error; one that is
// down is looked at again before its first branch.
func (m *Manager) admitAll(ctx context.Context) (recovery.Report, error) {
	errs := make([]error, len(m.cfg.Resources))
	var wg sync.WaitGroup
	for i, r := range m.cfg.Resources {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, m.cfg.RecoveryTimeout)
			defer cancel()
			unfit, err := m.resources[r.Name].check(ctx)
			if err != nil {
				m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "a resource could not be checked", slog.String(keyResource, r.Name), slog.Any(keyError, err))
			}
			errs[i] = unfit
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return recovery.Report{}, context.Cause(ctx)
	}
	if err := errors.Join(errs...); err != nil {
		return recovery.Report{}, err
	}
	report, err := m.Recover(ctx)
	for _, r := range report.Resources {
		if r.SameAs != "" {
			m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "two resources are one database, or on one MySQL server: one name would do, and one branch",
				slog.String(keyResource, r.Name), slog.String(keySameAs, r.SameAs))
		}
	}
	return report, err
}

// check asks the server whether it is fit for XA. err: it could not be asked.
func (r *resource) check(ctx context.Context) (unfit, err error) {
	if checker, ok := r.Driver.(drivers.Checker); ok {
		findings, err := checker.Check(ctx, r.DB)
		if err != nil {
			return nil, err
		}
		for _, f := range findings {
			if f.Severity == drivers.Fatal {
				return fmt.Errorf("resource %q: %s: %s", r.Name, f.Problem, f.Hint), nil
			}
			r.m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, f.Problem, slog.String(keyResource, r.Name), slog.String(keyHint, f.Hint))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fit = true
	return nil, nil
}

// answered takes note of what the database told recovery.
func (r *resource) answered(a recovery.Resource) {
	if a.Err != nil {
		return // it may come back as what it was
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known = a.Withheld == ""
}

func (r *resource) admitted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fit && r.known
}

// admit makes sure, before a branch starts, that the database has been found fit for XA and to be the one that the
// log knows under its name (rule P14): at Open it may have been down.
func (r *resource) admit(ctx context.Context) error {
	if r.admitted() {
		return nil
	}
	if err := r.admitting.acquire(ctx); err != nil {
		return err
	}
	defer r.admitting.Unlock()
	if r.admitted() {
		return nil
	}
	unfit, err := r.check(ctx)
	if err = errors.Join(unfit, err); err != nil {
		return err
	}
	report, err := r.m.Recover(ctx)
	if err != nil {
		return err
	}
	for _, a := range report.Resources {
		switch {
		case a.Name != r.Name:
		case a.Err != nil:
			return a.Err
		case a.Withheld != "":
			return errors.New(a.Withheld)
		}
	}
	return nil
}

// lost tells whether an error means that the connection is of no more use.
func (r *resource) lost(err error) bool {
	if errors.Is(err, driver.ErrBadConn) {
		return true
	}
	c, ok := r.Driver.(drivers.Classifier)
	return ok && c.Classify(err) == drivers.ClassConnection
}
