"""The command line: exit codes, help that helps, errors of one line that say what to do."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainingjob_cli.main import main
from trainingjob_operator import __version__

KUBECONFIG: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {}}],
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "c",
}
COMMANDS = ("operator", "run", "sandbox", "crd", "version")


@dataclass(frozen=True)
class Outcome:
    """The result of a command."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRAININGJOB_WEB__ADDRESS", "127.0.0.1:0")


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """A kubeconfig that can be read; its server is not there."""
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(KUBECONFIG))
    return path


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port of this machine that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def outcome(capsys: pytest.CaptureFixture[str], arguments: Sequence[str]) -> Outcome:
    code = main(arguments)
    captured = capsys.readouterr()
    return Outcome(code, captured.out, captured.err)


# --- help and right use -----------------------------------------------------------------------


def test_help_names_every_command_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    done = outcome(capsys, ["--help"])
    assert (done.code, done.err) == (0, "")
    lines = [line.split() for line in done.out.splitlines() if line.startswith("  ")]
    told = {words[0]: words[1:] for words in lines if words}
    assert all(len(told[command]) > 2 for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments", [["operator", "--help"], ["run", "--help"], ["sandbox", "up", "--help"]]
)
def test_a_commands_help_names_each_option_with_what_it_means(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    done = outcome(capsys, arguments)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: trainingjob " + " ".join(arguments[:-1]))


def test_help_on_the_sandbox_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    done = outcome(capsys, ["sandbox", "--help"])
    assert (done.code, done.err) == (0, "")
    assert "trainingjob sandbox up" in done.out


def test_version_names_everything_that_matters(capsys: pytest.CaptureFixture[str]) -> None:
    done = outcome(capsys, ["version"])
    assert (done.code, done.err) == (0, "")
    assert f"trainingjob-operator: {__version__}\n" in done.out
    assert {line.split(":")[0] for line in done.out.splitlines()} >= {"API", "Python", "kopf"}


def test_crd_prints_both_definitions_for_kubectl_apply(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = outcome(capsys, ["crd"])
    assert (done.code, done.err) == (0, "")
    printed = list(yaml.safe_load_all(done.out))
    kinds = {(document["kind"], document["spec"]["names"]["kind"]) for document in printed}
    assert kinds == {
        ("CustomResourceDefinition", "TrainingJob"),
        ("CustomResourceDefinition", "RetentionPolicy"),
    }


def test_a_closed_pipe_causes_no_error_message() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "trainingjob_cli", "crd"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, timeout=120)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


# --- wrong use: 2, and one line that says what to do ------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (
            ["train"],
            "operator, release-finalizers, record-token, gc, prune, smoke, records, console, run, sandbox, crd, version",
        ),
        (["operator", "--kubeconfg", "x"], "--kubeconfg"),
        (["sandbox"], "trainingjob sandbox up"),
        (["sandbox", "down"], "Commands: up."),
        (["records", "--address", "x", "prune"], "after `prune`"),
        (["records", "serve"], "Commands: prune."),
        (["records", "prune"], "--older-than"),
        (["release-finalizers", "--only", "a", "--all-but", "b"], "exclude each other"),
        (["release-finalizers", "--only"], "requires an argument"),
    ],
)
def test_wrong_use_exits_with_2_and_explains_the_right_use(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    done = outcome(capsys, arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


def test_a_console_without_login_is_only_for_loopback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = outcome(capsys, ["console", "--auth", "none", "--address", ":8070"])
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "TRAININGJOB_CONSOLE_AUTH=none" in done.err


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which the operator refuses to start."""
    done = outcome(capsys, ["operator", *arguments])
    assert (done.code, done.out) == (2, "")
    lines = [line for line in done.err.splitlines() if line.startswith("trainingjob: ")]
    assert len(lines) == 1
    assert "Traceback" not in done.err
    return lines[0]


def test_without_any_cluster_the_operator_says_how_to_name_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = refusal(capsys)
    assert "--kubeconfig" in line
    assert "KUBECONFIG" in line


@pytest.mark.parametrize("arguments", [["--kubeconfig", "/no/such/file"], ["--context", "other"]])
def test_a_missing_kubeconfig_is_wrong_use(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert "--kubeconfig" in refusal(capsys, *arguments)


def test_an_unknown_context_is_named(capsys: pytest.CaptureFixture[str], kubeconfig: Path) -> None:
    assert "other" in refusal(capsys, "--kubeconfig", str(kubeconfig), "--context", "other")


@pytest.mark.parametrize(
    "content",
    [
        b"a: [b\n",
        b"- 1\n",
        b"",
        b"\xff\xfe\x00",
        b"clusters: 5\nusers: []\ncontexts: []\ncurrent-context: x\n",
    ],
    ids=["no YAML", "a list", "empty", "binary", "wrong types"],
)
def test_a_kubeconfig_that_cannot_be_understood_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "broken"
    path.write_bytes(content)
    line = refusal(capsys, "--kubeconfig", str(path))
    assert str(path) in line
    assert "--kubeconfig" in line


@pytest.mark.parametrize(
    "cluster",
    [{"certificate-authority-data": "eHh4"}, {"certificate-authority": "/no/such/file"}],
    ids=["no certificate", "no file"],
)
def test_certificates_that_cannot_be_read_are_wrong_use(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, cluster: dict[str, str]
) -> None:
    path = tmp_path / "tls"
    server = {"server": "https://127.0.0.1:1", **cluster}
    path.write_text(yaml.safe_dump(KUBECONFIG | {"clusters": [{"name": "c", "cluster": server}]}))
    assert "--kubeconfig" in refusal(capsys, "--kubeconfig", str(path))


def test_an_invalid_setting_is_named_with_its_valid_values(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kubeconfig: Path
) -> None:
    monkeypatch.setenv("TRAININGJOB_RECONCILER__WORKERS", "none")
    line = refusal(capsys, "--kubeconfig", str(kubeconfig))
    assert line.startswith("trainingjob: TRAININGJOB_RECONCILER__WORKERS: ")


def test_a_web_address_in_use_is_named_with_advice(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kubeconfig: Path,
    taken_port: int,
) -> None:
    monkeypatch.setenv("TRAININGJOB_WEB__ADDRESS", f"127.0.0.1:{taken_port}")
    line = refusal(capsys, "--kubeconfig", str(kubeconfig))
    assert "TRAININGJOB_WEB__ADDRESS" in line
    assert str(taken_port) in line
    assert "in use" in line


def test_ctrl_c_is_failure_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("platform.python_version", interrupted)
    assert outcome(capsys, ["version"]) == Outcome(1, "", "")


@pytest.mark.parametrize(
    ("program", "shown"),
    [("/usr/bin/trainingjob", "trainingjob"), ("/bin/kubectl-trainingjob", "kubectl trainingjob")],
)
def test_help_shows_the_command_as_it_was_called(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, program: str, shown: str
) -> None:
    monkeypatch.setattr("sys.argv", [program])
    assert outcome(capsys, ["gc", "--help"]).out.startswith(f"Usage: {shown} gc ")


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("prune --root D --live-from F --kubeconfig --dry-run", "--kubeconfig"),
        ("prune --root D --legacy --live --dry-run", "--live"),
        ("release-finalizers --stop --jobs-go-too", "--stop"),
        ("release-finalizers --stop system/operator --only --discard", "--only"),
        ("gc -o --dry-run", "-o"),
        ("records --address --database x", "--address"),
        ("records prune --older-than --dry-run", "--older-than"),
    ],
)
def test_an_option_without_a_value_does_not_use_the_next_option(
    line: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # As in `--stop $UNSET --discard`.
    assert main(line.split()) == 2
    assert f"Option {option!r} requires an argument." in capsys.readouterr().err
