package ent

//go:generate go tool -modfile=../generate/go.mod ent generate --target generated --package github.com/xasql/xasql/integration/compat/ent/generated ./schema
