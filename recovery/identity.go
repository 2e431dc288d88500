package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/txlog"
)

// identity compares the database with the one that the log knows under the resource's name (rule P14), and tells in out which it is, which it was,
// and why nothing may be forgotten because of what this database does not hold.
func (p *pass) identity(ctx context.Context, res drivers.Resource, out *Resource) (err error) {
	if out.Identity, err = Identify(ctx, res); err != nil || out.Identity == "" {
		return err
	}
	reg, ok := p.Log.(txlog.Registrar)
	if !ok {
		return nil
	}
	known, err := reg.Registered(ctx, res.Name)
	if err != nil {
		return fmt.Errorf("read its identity from the log: %w", err)
	}
	if known == out.Identity {
		return nil
	}
	out.Was = known
	if known != "" && !slices.Contains(p.Rebind, res.Name) {
		if out.Withheld, err = p.withheld(ctx, reg, *out); err != nil || out.Withheld != "" {
			return err
		}
	}
	if !p.act {
		return nil
	}
	if err := reg.Register(ctx, res.Name, out.Identity); err != nil && !errors.Is(err, txlog.ErrReadOnly) {
		return fmt.Errorf("note its identity in the log: %w", err)
	}
	return nil
}

// withheld tells why the silence of a database that is not the one that was meant settles nothing, and what to do; "" where nothing hangs on the old one.
func (p *pass) withheld(ctx context.Context, reg txlog.Registrar, r Resource) (string, error) {
	named := 0
	p.mu.Lock()
	for _, d := range slices.Concat(p.decisions, p.live) {
		// What is aborted may be forgotten whatever holds it: without a decision it is rolled back all the same.
		if d.Outcome == txlog.Committed && slices.Contains(d.Resources, r.Name) {
			named++
		}
	}
	p.mu.Unlock()
	wayOut := "if the database was moved or restored on purpose and has all that it had, run xa-recover resolve --rebind " + r.Name
	who := ""
	switch _, shared := p.Log.(txlog.Shared); {
	case shared: // others may be about to decide on it
		who = "the one that those who share this log mean by that name"
	case named > 0:
		who = fmt.Sprintf("the one that %d unsettled decision(s) name", named)
	case p.Claim != nil: // this process may be: a transaction may have a branch in the old one
		who, wayOut = "the one that this process began with", "if that is meant, start the process anew"
	default:
		return "", nil
	}
	alias := ""
	for _, other := range p.Resources {
		known, err := reg.Registered(ctx, other.Name)
		if err != nil {
			return "", fmt.Errorf("read the identity of %q from the log: %w", other.Name, err)
		}
		if known == r.Identity && other.Name != r.Name {
			alias = fmt.Sprintf(", which the log knows as %q", other.Name)
		}
	}
	return fmt.Sprintf("%q is another database than %s (it was %q, it is %q%s): point the name back to it, or, %s", r.Name, who, r.Was, r.Identity, alias, wayOut), nil
}

// aliases finds databases that have two names. Each branch is its own name's there, and nothing is amiss.
func aliases(resources []Resource) {
	for i := range resources {
		for _, first := range resources[:i] {
			if r := &resources[i]; r.SameAs == "" && r.Identity != "" && r.Identity == first.Identity {
				r.SameAs = first.Name
			}
		}
	}
}

// Identify returns the database's own identity, or "" where its driver or server can't tell one.
func Identify(ctx context.Context, res drivers.Resource) (string, error) {
	id, ok := res.Driver.(drivers.Identifier)
	if !ok {
		return "", nil
	}
	s, err := id.Identify(ctx, res.DB)
	if errors.Is(err, drivers.ErrNotSupported) {
		return "", nil
	}
	return s, err
}
