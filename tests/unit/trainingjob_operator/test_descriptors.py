"""The limit of open files, tested in its own process, since a lowered limit cannot be raised again."""

import subprocess
import sys

PROGRAM = """
import resource, sys
from trainingjob_operator.descriptors import descriptor_limit, raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, int(sys.argv[1])))
before = descriptor_limit()
print(before, raise_descriptor_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def limits(hard: int) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(hard)], capture_output=True, text=True, check=True
    )
    return [int(word) for word in done.stdout.split()]


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    assert limits(512) == [64, 512, 512]


def test_a_limit_that_is_high_enough_stays() -> None:
    assert limits(64) == [64, 64, 64]
