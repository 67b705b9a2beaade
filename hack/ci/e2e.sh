#!/usr/bin/env bash
# Runs `make e2e` and prints the result: passed, skipped with the reason (if this machine cannot run a real node),
# or FAILED. Exits with 1 if it has failed.
set -uo pipefail
cd "$(dirname "$0")/../.."

begun=$SECONDS
reason=$(.venv/bin/python -m hack.cluster can 2>&1)
code=$?
status=0
case $code in
0)
    verdict=passed
    # From here on, a test without a node fails instead of being skipped.
    export TRAININGJOB_TEST_REQUIRE_NODE=1
    timeout --kill-after=60 "${E2E_SECONDS:-1800}" make e2e || {
        verdict="FAILED with $? (124: not finished in time)"
        status=1
    }
    ;;
3) verdict="been skipped: $reason" ;; # this machine cannot run a real node
*)
    verdict="FAILED: hack.cluster can ended with $code: $reason"
    status=1
    ;;
esac
echo "== make e2e has $verdict ($(((SECONDS - begun) / 60)) min)"
exit $status
