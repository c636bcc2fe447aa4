#!/usr/bin/env bash
# Checks everything. Needs Go and nothing else; "check.sh all" also runs what
# needs Node, the official JavaScript SDK in interop/js, or Python, and what
# takes long.
set -euo pipefail
cd "$(dirname "$0")"

step() { printf '\n== %s\n' "$*"; }
fail() { printf 'check.sh: %s\n' "$*" >&2; exit 1; }

case "${1-}" in
"" | all) ;;
*) fail "usage: ./check.sh [all]" ;;
esac

step gofmt
unformatted=$(find . -name '*.go' -not -path '*/node_modules/*' -exec gofmt -l {} +)
[ -z "$unformatted" ] || fail "not formatted: $unformatted"

step build
go build ./...

step vet
go vet ./...

step staticcheck
go tool -modfile=tools/go.mod staticcheck ./...

step "go.mod and go.sum are tidy"
go mod tidy -diff
(cd tools && go mod tidy -diff)

step "no test code outside of _test.go files"
misnamed=$(find . -name '*test*.go' -not -name '*_test.go' -not -path './state/statetest/*' -not -path './cosmos/cosmostest/*' -not -path './deadline/deadlinetest/*' -not -path '*/node_modules/*')
[ -z "$misnamed" ] || fail "not named _test.go: $misnamed"

step tests
go test -race -shuffle=on ./...

if [ "${1-}" = all ]; then
	step "JavaScript SDK, Cosmos DB servers and receivers of events of others"
	command -v npm >/dev/null || fail "check.sh all needs Node"
	command -v python3 >/dev/null || fail "check.sh all needs Python 3"
	(cd interop/js && npm ci --no-audit --no-fund --loglevel=error)
	# The server of vercel lets no item expire: these cases show that.
	expiry='an_expired_item_leaves_room_for_ETagNone|an_expired_item_has_no_tag|a_refused_write_leaves_the_TTL_alone|a_rewrite_may_shorten_the_TTL|each_item_of_a_batch_has_its_own_TTL|an_item_is_there_until_its_TTL_has_passed|a_rewrite_starts_the_TTL_anew'
	go test -race -short -tags interop -skip "^TestContractOnVercel$/^contract$/^($expiry)$" ./interop/...

	step "20 000 random schedules of three replicas, and a crash at each step (2 min)"
	go test -run '^(TestRandomSchedules|TestACrashAtAnyStep)$' ./middleware -schedules 20000 -crashes

	step "replicas on the same documents, while answers are lost (2 min)"
	go test -run '^TestI1Chaos$' -v ./cosmos -chaos 20s | grep -v '^=== '

	step "three processes, one killed and one held up"
	go run ./interop/replicas -conversations 300
fi

step ok
