-- name: CreateAccount :exec
INSERT INTO accounts (id, balance) VALUES ($1, $2);

-- name: CreateEntry :exec
INSERT INTO entries (id, account_id, amount, note, created_at) VALUES ($1, $2, $3, $4, $5);

-- name: AddToBalance :execrows
UPDATE accounts SET balance = balance + sqlc.arg(amount) WHERE id = sqlc.arg(id);

-- name: GetBalance :one
SELECT balance FROM accounts WHERE id = $1;

-- name: ListEntries :many
SELECT id FROM entries WHERE account_id = $1 ORDER BY id;
