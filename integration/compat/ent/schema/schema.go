// Package schema describes the bank's tables to ent.
package schema

import (
	"time"

	"entgo.io/ent"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
)

// Account has a balance and entries.
type Account struct{ ent.Schema }

// Fields of the account.
func (Account) Fields() []ent.Field {
	return []ent.Field{
		field.String("id").MaxLen(64),
		field.Int64("balance"),
	}
}

// Edges of the account.
func (Account) Edges() []ent.Edge {
	return []ent.Edge{edge.To("entries", Entry.Type)}
}

// Entry changes an account's balance.
type Entry struct{ ent.Schema }

// Fields of the entry.
func (Entry) Fields() []ent.Field {
	return []ent.Field{
		field.String("id").MaxLen(64),
		field.String("account_id").MaxLen(64),
		field.Int64("amount"),
		field.String("note").Optional().Nillable(),
		field.Time("created_at").Default(time.Now),
	}
}

// Edges of the entry.
func (Entry) Edges() []ent.Edge {
	return []ent.Edge{edge.From("account", Account.Type).Ref("entries").Field("account_id").Unique().Required()}
}
