#!/usr/bin/env bash
# Runs `make e2e`, prints its verdict, and fails when it has failed: passed, skipped with the reason (where
# this machine can run no real node), or FAILED.
set -uo pipefail
cd "$(dirname "$0")/../.."

begun=$SECONDS
reason=$(.venv/bin/python -m hack.cluster can 2>&1)
code=$?
status=0
case $code in
0)
    verdict=passed
    # A test that finds no node is a failure from here on, and not one that is skipped.
    export TRAININGJOB_TEST_REQUIRE_NODE=1
    timeout --kill-after=60 "${E2E_SECONDS:-1800}" make e2e || {
        verdict="FAILED with $? (124: not finished in time)"
        status=1
    }
    ;;
3) verdict="been skipped: $reason" ;; # the machine can run no real node
*)
    verdict="FAILED: hack.cluster can ended with $code: $reason"
    status=1
    ;;
esac
echo "== make e2e has $verdict ($(((SECONDS - begun) / 60)) min)"
exit $status
