"""The arguments of `trainingjob records`."""

import pytest

from trainingjob_cli.main import main
from trainingjob_records import command


def test_arguments_reach_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve_records(**options: object) -> int:
        assert options == {"address": ":1", "database": None}
        return 1

    monkeypatch.setattr(command, "serve_records", serve_records)
    assert main(["records", "--address", ":1"]) == 1


def test_prune_gets_its_own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    def prune_records(age: str, **options: object) -> int:
        assert (age, options) == ("4d", {"database": "d", "dry_run": True})
        return 1

    monkeypatch.setattr(command, "prune_records", prune_records)
    assert main(["records", "prune", "--older-than", "4d", "--database", "d", "--dry-run"]) == 1


def test_an_invalid_age_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["records", "prune", "--older-than", "soon"]) == 2
    assert "trainingjob: --older-than: must be an age like 400d" in capsys.readouterr().err
