#!/bin/sh
# Crashes a money transfer between two SQLite databases twice, and recovers it: make demo runs this.
# Every command is printed as it can be typed. What it makes stays in ./demo (or in the directory given) to be looked at.
set -eu
cd "$(dirname "$0")/../.."
dir=${1:-demo}

say() { printf '\n# %s\n' "$*"; }

# expect STATUS COMMAND...: prints the command, runs it, and ends the demo if its exit status is another.
expect() {
	want=$1 got=0
	shift
	echo "\$ $*"
	"$@" 2>&1 || got=$?
	if [ "$got" -ne "$want" ]; then
		echo "demo: FAILED: exit status $got, not $want" >&2
		exit 1
	fi
}

# balances TEXT: prints the balances, and ends the demo if they are others.
balances() {
	echo "\$ $dir/bin/transfer -dir $dir -balances"
	got=$("$dir/bin/transfer" -dir "$dir" -balances)
	echo "$got"
	if [ "$got" != "$1" ]; then
		echo "demo: FAILED: the balances must be: $1" >&2
		exit 1
	fi
}

# SQLite takes the C compiler most of a minute, or some seconds where it may leave out what makes it fast.
export CGO_CFLAGS="${CGO_CFLAGS--O0}"

mkdir -p "$dir"
rm -rf "${dir:?}/bin" "$dir/xalog" "$dir"/berlin.db* "$dir"/paris.db*

say "Build the program that moves money, and the recovery command. (The first time, SQLite is compiled, which takes a while.)"
expect 0 go build -o "$dir/bin/" ./examples/transfer ./cmd/xa-recover

say "Alice has 100 in Berlin and 100 in Paris. She moves 10: both databases commit, or neither does."
expect 0 "$dir/bin/transfer" -dir "$dir" -amount 10
balances "berlin 90 + paris 110 = 200"

say "Now 20, and the process is killed once the decision to commit is written, before it could tell any database."
expect 137 "$dir/bin/transfer" -dir "$dir" -amount 20 -kill after-decision

say "The 20 are neither here nor there: both databases are prepared, and wait. What is in doubt? (Exit status 3: something is.)"
for setting in "XA_LOG=file:$dir/xalog" "XA_RESOURCES=berlin=sqlite:$dir/berlin.db paris=sqlite:$dir/paris.db"; do
	echo "\$ export '$setting'"
	export "${setting?}"
done
balances "berlin 90 + paris 110 = 200"
expect 3 "$dir/bin/xa-recover" list

say "The log knows the decision: commit. So recovery commits."
expect 0 "$dir/bin/xa-recover" resolve
balances "berlin 70 + paris 130 = 200"

say "Once more 20, and killed before the decision: nobody was told that the money has moved."
expect 137 "$dir/bin/transfer" -dir "$dir" -amount 20 -kill before-decision
expect 3 "$dir/bin/xa-recover" list

say "No decision, no commit: recovery rolls back, in both."
expect 0 "$dir/bin/xa-recover" resolve
balances "berlin 70 + paris 130 = 200"
expect 0 "$dir/bin/xa-recover" list

say "Two crashes, and no money was lost or made: 200 before, 200 now. The files are in $dir."
