package sqlc

//go:generate go tool -modfile=../generate/go.mod sqlc generate
