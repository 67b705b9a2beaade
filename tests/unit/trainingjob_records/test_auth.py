"""Token files that change while the service runs, and access from this machine without a token."""

import os
from pathlib import Path

import pytest

from trainingjob_records.auth import Gate, TokenFile
from trainingjob_records.errors import (
    ForbiddenHostError,
    ReadOnlyTokenError,
    SettingsError,
    UnauthorizedError,
)
from trainingjob_records.settings import Settings

VARIABLE = "TRAININGJOB_RECORDS_TOKEN_FILE"


def test_every_line_of_the_file_is_a_token(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("old\n\n  new  \n")
    tokens = TokenFile(file, VARIABLE)
    assert (tokens.knows("old"), tokens.knows("new")) == (True, True)
    assert not any(tokens.knows(word) for word in ("", "ol", "oldx", "old\n", "\udcff"))


def test_a_changed_file_is_reloaded_and_a_missing_one_keeps_the_tokens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens"
    file.write_text("one\n")
    tokens = TokenFile(file, VARIABLE)
    file.write_text("two\n")
    os.utime(file, ns=(1, 1))
    assert (tokens.knows("one"), tokens.knows("two")) == (False, True)
    for break_it in (
        file.unlink,
        lambda: file.write_text("\n"),
        lambda: file.write_text("x" * 70_000),
    ):
        break_it()
        assert (tokens.knows("two"), tokens.knows("")) == (True, False)
    file.write_text("three\n")
    assert (tokens.knows("two"), tokens.knows("three")) == (False, True)
    assert "two" not in caplog.text.replace("the tokens", "")


@pytest.mark.parametrize("content", [None, "", "\n \n"])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match="TRAININGJOB_RECORDS_TOKEN_FILE"):
        TokenFile(file, VARIABLE)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic one", "one", "Bearer x"])
def test_the_challenge_says_what_is_missing(tmp_path: Path, header: str | None) -> None:
    file = tmp_path / "tokens"
    file.write_text("one\n")
    gate = Gate(Settings(token_file=file))
    gate.check(authorization="bearer one", host="anything.example", reads=False)
    with pytest.raises(UnauthorizedError) as caught:
        gate.check(authorization=header, host="localhost", reads=True)
    assert caught.value.challenge.startswith("Bearer realm=")
    assert ("invalid_token" in caught.value.challenge) == (header == "Bearer x")


def test_a_read_only_token_cannot_write(tmp_path: Path) -> None:
    writers, readers = tmp_path / "tokens", tmp_path / "readers"
    writers.write_text("one\n")
    readers.write_text("two\n")
    gate = Gate(Settings(token_file=writers, read_token_file=readers))
    gate.check(authorization="Bearer two", host=None, reads=True)
    with pytest.raises(ReadOnlyTokenError):
        gate.check(authorization="Bearer two", host=None, reads=False)
    for reads in (True, False):
        gate.check(authorization="Bearer one", host=None, reads=reads)
        with pytest.raises(UnauthorizedError):
            gate.check(authorization="Bearer three", host=None, reads=reads)


def test_a_read_token_file_requires_a_token_file(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match="READ_TOKEN_FILE requires TRAININGJOB_RECORDS_TOKEN_FILE"
    ):
        Settings.from_environment({"TRAININGJOB_RECORDS_READ_TOKEN_FILE": str(tmp_path / "t")})


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8090", "127.0.0.1:1", "[::1]:8090", "[::1]"]
)
def test_without_a_token_only_loopback_host_names_are_served(host: str) -> None:
    Gate(Settings()).check(authorization=None, host=host, reads=False)


@pytest.mark.parametrize(
    "host", [None, "", "evil.example:8090", "localhost.evil.example", "10.0.0.1"]
)
def test_another_host_header_is_refused_without_a_token(host: str | None) -> None:
    with pytest.raises(ForbiddenHostError):
        Gate(Settings()).check(authorization=None, host=host, reads=False)
    Gate(Settings(anonymous=True)).check(authorization=None, host=host, reads=False)
