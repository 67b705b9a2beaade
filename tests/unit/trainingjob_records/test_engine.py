"""The connect timeout of each host of a URL, so that the last one is reached in time."""

import pytest
from sqlalchemy import make_url

from trainingjob_records.engine import connect_timeout_s, max_connect_s


@pytest.mark.parametrize(
    ("url", "each_s", "all_s"),
    [
        ("postgresql+psycopg://db/name", 5, 5),
        ("postgresql+psycopg:///name", 5, 5),  # the socket of this machine
        ("postgresql+psycopg:///name?host=a:5432&host=b:5432", 3, 6),
        ("postgresql+psycopg:///name?host=a,b,c", 2, 6),
        ("postgresql+psycopg://u:p@/name?host=a&host=b&host=c&host=d", 2, 8),
    ],
)
def test_several_hosts_share_the_connect_timeout(url: str, each_s: int, all_s: int) -> None:
    assert connect_timeout_s(make_url(url)) == each_s
    assert max_connect_s(make_url(url)) == 7 + all_s
