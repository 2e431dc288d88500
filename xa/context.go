package xa

import "context"

// txKey is the key of a context's transaction.
type txKey struct{}

// NewContext returns a context that carries the transaction: statements of [Manager.DB]'s handles run inside it
// under that context. The function of [Manager.Do] gets such a context already. With nil the context carries none: statements
// under it run outside of any global transaction.
func NewContext(ctx context.Context, tx *Tx) context.Context {
	return context.WithValue(ctx, txKey{}, tx)
}

// FromContext returns the transaction that the context carries.
func FromContext(ctx context.Context) (*Tx, bool) {
	tx, _ := ctx.Value(txKey{}).(*Tx)
	return tx, tx != nil
}
