-- name: CreateAccount :exec
INSERT INTO accounts (id, balance) VALUES (?, ?);

-- name: CreateEntry :exec
INSERT INTO entries (id, account_id, amount, note, created_at) VALUES (?, ?, ?, ?, ?);

-- name: AddToBalance :execrows
UPDATE accounts SET balance = balance + sqlc.arg(amount) WHERE id = sqlc.arg(id);

-- name: GetBalance :one
SELECT balance FROM accounts WHERE id = ?;

-- name: ListEntries :many
SELECT id FROM entries WHERE account_id = ? ORDER BY id;
