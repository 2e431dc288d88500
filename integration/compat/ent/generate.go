package ent

//go:generate go tool -modfile=../generate/go.mod ent generate --target ./generated ./schema
