"""Tests of the table of `hack.bench.profile`, made from pprof's output."""

import pytest

from hack.bench.profile import ROWS, Profile, read, render

PRINTED = """\
File: cluster
Type: cpu
Duration: 14.26s, Total samples = 6.24s (43.76%)
Showing nodes accounting for 6.24s, 100% of 6.24s total
      flat  flat%   sum%        cum   cum%
         0     0%     0%      4.07s 65.22%  k8s.io/apiserver/pkg/registry/generic/registry.(*Store).Update
     0.08s  1.28%  6.09%      970ms 15.54%  k8s.io/apiserver/schema/cel.(*Validator).Validate (inline)
         0     0%  6.09%          0     0%  k8s.io/apiserver/schema/cel.(*Validator).validate
"""


def test_functions_are_read_with_their_time_in_any_unit() -> None:
    profile = read(PRINTED)
    assert profile.total_s == 6.24
    assert profile.of(ROWS["PATCH and PUT, without their answers"]) == 4.07
    assert profile.of(ROWS["CEL rules of the schema"]) == 0.97
    assert profile.of(ROWS["audit log"]) == 0.0


def test_what_is_no_profile_is_refused() -> None:
    with pytest.raises(ValueError, match="no profile"):
        read("no such file")


def test_the_table_has_shares_of_what_a_job_costs() -> None:
    cel = {"k8s.io/apiserver/schema/cel.(*Validator).Validate": 1.0}
    table = render(
        {"ours": Profile(4.0, cel), "other": Profile(5.0, {})}, {"ours": 40.0, "other": 30.0}
    )
    assert "| all of it | 40.0 | 30.0 |" in table
    assert "| CEL rules of the schema | 10.0 | 0.0 |" in table
