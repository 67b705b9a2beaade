#!/usr/bin/env bash
# Runs `make e2e` and prints its verdict: passed, skipped with the reason, or FAILED. It always succeeds:
# the tests have to pass on this machine a few times before they may refuse a change.
set -uo pipefail
cd "$(dirname "$0")/../.."

begun=$SECONDS
reason=$(.venv/bin/python -m hack.cluster can 2>&1)
code=$?
case $code in
0)
    verdict=passed
    timeout --kill-after=60 "${E2E_SECONDS:-1200}" make e2e || verdict="FAILED with $? (124: not finished in time)"
    ;;
3) verdict="been skipped: $reason" ;; # the machine can run no real node
*) verdict="FAILED: hack.cluster can ended with $code: $reason" ;;
esac
echo "== make e2e has $verdict ($(((SECONDS - begun) / 60)) min)"
