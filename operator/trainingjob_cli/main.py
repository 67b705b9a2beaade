"""The command line: arguments in, an exit code out. 0 is success, 1 failure, 2 wrong use.

Each command imports what it needs when it is run, so that `--help` is quick and the image, which
lacks the laptop mode, has no broken command line.
"""

import argparse
import asyncio
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from trainingjob_api.constants import API_VERSION
from trainingjob_api.errors import SettingsError
from trainingjob_operator import __version__

SUCCESS: Final = 0
FAILURE: Final = 1
WRONG_USE: Final = 2

_SANDBOX_USAGE: Final = (
    "usage: trainingjob sandbox up [OPTIONS]; `trainingjob sandbox up --help` tells them"
)
_NO_PAGE_YET: Final = (
    "trainingjob: the web page is still to come; the record service is `trainingjob records`"
)
_NEEDS_RECORDS: Final = (
    "trainingjob: the record service is not installed; install it with "
    "pip install 'trainingjob-operator[records]'"
)
_RECORDS_MODULES: Final = frozenset(
    {
        "aiosqlite",
        "alembic",
        "fastapi",
        "greenlet",
        "prometheus_client",
        "psycopg",
        "sqlalchemy",
        "starlette",
        "trainingjob_records",
        "uvicorn",
    }
)
_NEEDS_SANDBOX: Final = (
    "trainingjob: the laptop mode is not installed (it is not in the operator's image); "
    "on your own machine: pip install 'trainingjob-operator[sandbox]'"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["run"], ["sandbox"]):
        return _laptop(arguments)
    if arguments[:1] in (["records"], ["console"]):
        return _records(arguments[1:]) if arguments[0] == "records" else _no_page_yet()
    parsed = _parser().parse_args(arguments)
    try:
        code = int(parsed.run(parsed))
        sys.stdout.flush()
    except SettingsError as error:
        print(f"trainingjob: {error}", file=sys.stderr)  # noqa: T201 - the answer to the user
        return WRONG_USE
    except BrokenPipeError:
        # The reader has seen enough (`trainingjob crd | head`). What is left to be flushed at our
        # end must go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except KeyboardInterrupt:
        return FAILURE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trainingjob",
        description="Training jobs on Kubernetes: apply a TrainingJob, get pods, see it finish.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    operator = commands.add_parser("operator", help="run the operator (what the container runs)")
    _add_cluster(operator)
    operator.set_defaults(run=_operator)
    _add_release(commands)
    token = commands.add_parser(
        "record-token", help="make the record service's token, unless its Secret has one"
    )
    _add_cluster(token)
    token.add_argument(
        "--secret",
        metavar="[NAMESPACE/]SECRET",
        required=True,
        help="the Secret; it must be there",
    )
    token.add_argument("--key", default="token", help="the token's key in it (default: token)")
    token.add_argument(
        "--output", type=Path, required=True, help="file to write the Secret's token to"
    )
    token.set_defaults(run=_record_token)
    _add_gc(commands)
    _add_prune(commands)
    # These parse their own arguments; here they are only for `--help`.
    commands.add_parser("records", help="keep the records of finished jobs, and list them")
    commands.add_parser("run", help="run a TrainingJob on this machine, without a cluster")
    commands.add_parser("sandbox", help="`sandbox up`: an API server and a node on this machine")
    crd = commands.add_parser("crd", help="print the CustomResourceDefinitions")
    crd.set_defaults(run=_crd)
    version = commands.add_parser("version", help="print the versions of everything that matters")
    version.set_defaults(run=_version)
    return parser


def _add_cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument("--kubeconfig", help="path of the kubeconfig (default: as kubectl)")
    command.add_argument("--context", help="context of the kubeconfig")


def _kubeconfig(parsed: argparse.Namespace) -> str | None:
    from trainingjob_operator.settings import kubeconfig_from_environment  # noqa: PLC0415

    named: str | None = parsed.kubeconfig
    return named or kubeconfig_from_environment()


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="default: table"
    )


def _add_release(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    release = commands.add_parser(
        "release-finalizers",
        help="for the day the operator goes, or leaves some namespaces: free what it holds",
    )
    _add_cluster(release)
    release.add_argument(
        "--discard",
        action="store_true",
        help="free jobs that are being deleted though their records cannot be stored, too; "
        "prints these records",
    )
    release.add_argument(
        "--jobs-go-too",
        action="store_true",
        help="every job will be deleted afterwards (with the CRDs, for instance): hold those "
        "whose records cannot be stored, or with --discard print the records",
    )
    release.add_argument(
        "--stop",
        metavar="[NAMESPACE/]DEPLOYMENT",
        help="the operator's Deployment, which is scaled to 0 first",
    )
    which = release.add_mutually_exclusive_group()
    which.add_argument(
        "--only",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAMESPACE",
        help="namespaces that the operator does not serve any more: free what it has left there "
        "(default: those that it serves)",
    )
    which.add_argument(
        "--all-but",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAMESPACE",
        help="the namespaces that are served still, by whatever operator: free all others",
    )
    release.set_defaults(run=_release)


def _add_gc(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    gc = commands.add_parser(
        "gc", help="remove finished jobs and old files now, as the operator does in its time"
    )
    _add_cluster(gc)
    gc.add_argument("--dry-run", action="store_true", help="only tell what would go, and why")
    _add_output(gc)
    gc.set_defaults(run=_gc)


def _gc(parsed: argparse.Namespace) -> int:
    from trainingjob_operator.commands.gc import collect  # noqa: PLC0415
    from trainingjob_operator.settings import Settings  # noqa: PLC0415

    went_well = asyncio.run(
        collect(
            Settings.from_environment(),
            kubeconfig=_kubeconfig(parsed),
            context=parsed.context,
            dry_run=parsed.dry_run,
            output=parsed.output,
        )
    )
    return SUCCESS if went_well else FAILURE


def _add_prune(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    prune = commands.add_parser(
        "prune", help="remove old files of a log volume by hand, without a cluster"
    )
    prune.add_argument("--root", required=True, metavar="DIR", help="the volume's root")
    prune.add_argument(
        "--live",
        nargs="+",
        action="extend",
        metavar="UID",
        help="uids of the jobs whose files stay",
    )
    prune.add_argument(
        "--live-from", metavar="FILE", help="file with these uids, one a line; - is standard input"
    )
    prune.add_argument(
        "--assume-none-live", action="store_true", help="no job of this volume exists any more"
    )
    prune.add_argument(
        "--max-age",
        default="7d",
        metavar="AGE",
        help="remove what has not changed for so long: seconds, or 90s, 15m, 24h, 7d (default: 7d)",
    )
    prune.add_argument("--dry-run", action="store_true", help="only tell what would go, and why")
    prune.add_argument(
        "--init",
        action="store_true",
        help="first make this directory a volume of ours, whatever is in it",
    )
    prune.add_argument(
        "--adopt",
        metavar="IDENTITY",
        help="first take this volume over from an owner that is gone for good, with all that it "
        "has marked; `unknown`: a volume that names none",
    )
    prune.add_argument(
        "--identity",
        metavar="UID",
        help="for --init and --adopt: the uid of the operator's namespace (default: ask the "
        "cluster)",
    )
    _add_cluster(prune)
    prune.add_argument(
        "--legacy", action="store_true", help="remove entries whose id is no uid, too"
    )
    _add_output(prune)
    prune.set_defaults(run=_prune)


def _prune(parsed: argparse.Namespace) -> int:
    from trainingjob_operator.commands.prune import Order, prune  # noqa: PLC0415

    done = prune(
        Order(
            root=parsed.root,
            live=parsed.live,
            live_from=parsed.live_from,
            assume_none_live=parsed.assume_none_live,
            max_age=parsed.max_age,
            dry_run=parsed.dry_run,
            init=parsed.init,
            adopt=parsed.adopt,
            identity=parsed.identity,
            kubeconfig=_kubeconfig(parsed),
            context=parsed.context,
            legacy=parsed.legacy,
            output=parsed.output,
        )
    )
    return SUCCESS if done else FAILURE


def _operator(parsed: argparse.Namespace) -> int:
    from trainingjob_operator import runtime  # noqa: PLC0415 - see the module's docstring
    from trainingjob_operator.descriptors import raise_descriptor_limit  # noqa: PLC0415
    from trainingjob_operator.logging_setup import configure_logging  # noqa: PLC0415
    from trainingjob_operator.settings import Settings  # noqa: PLC0415

    settings = Settings.from_environment()
    configure_logging(settings.logging.format, settings.logging.level)
    raise_descriptor_limit()
    asyncio.run(
        runtime.run(
            settings,
            kubeconfig=_kubeconfig(parsed),
            context=parsed.context,
        )
    )
    return SUCCESS


def _release(parsed: argparse.Namespace) -> int:
    from trainingjob_operator.commands.release_finalizers import release  # noqa: PLC0415
    from trainingjob_operator.settings import Settings  # noqa: PLC0415

    freed = asyncio.run(
        release(
            Settings.from_environment(),
            kubeconfig=_kubeconfig(parsed),
            context=parsed.context,
            discard=parsed.discard,
            jobs_go_too=parsed.jobs_go_too,
            deployment=parsed.stop,
            only=parsed.only,
            spared=parsed.all_but,
        )
    )
    return SUCCESS if freed else FAILURE


def _record_token(parsed: argparse.Namespace) -> int:
    from trainingjob_operator.commands.record_token import record_token  # noqa: PLC0415
    from trainingjob_operator.settings import Settings  # noqa: PLC0415

    done = asyncio.run(
        record_token(
            Settings.from_environment(),
            kubeconfig=_kubeconfig(parsed),
            context=parsed.context,
            secret=parsed.secret,
            key=parsed.key,
            output=parsed.output,
        )
    )
    return SUCCESS if done else FAILURE


def _crd(_: argparse.Namespace) -> int:
    from trainingjob_api.crd import render_yaml  # noqa: PLC0415

    sys.stdout.write(render_yaml())
    return SUCCESS


def _version(_: argparse.Namespace) -> int:
    lines = {
        "trainingjob-operator": __version__,
        "API": API_VERSION,
        "Python": platform.python_version(),
        "kopf": metadata.version("kopf"),
        "kubernetes client": metadata.version("kubernetes"),
    }
    sys.stdout.write("".join(f"{name}: {value}\n" for name, value in lines.items()))
    return SUCCESS


def _no_page_yet() -> int:
    print(_NO_PAGE_YET, file=sys.stderr)  # noqa: T201 - the answer to the user
    return WRONG_USE


def _records(arguments: list[str]) -> int:
    try:
        from trainingjob_records.command import run_command  # noqa: PLC0415

        return run_command(arguments)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in _RECORDS_MODULES:
            print(_NEEDS_RECORDS, file=sys.stderr)  # noqa: T201 - the answer to the user
            return WRONG_USE
        raise


def _laptop(arguments: list[str]) -> int:
    try:
        if arguments[0] == "run":
            from trainingjob_sandbox.run import run_command  # noqa: PLC0415

            return run_command(arguments[1:])
        from trainingjob_sandbox.starter import up  # noqa: PLC0415

        return up(arguments[2:]) if arguments[1:2] == ["up"] else _sandbox_usage(arguments[1:])
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing in {"trainingjob_sandbox", "cel", "jsonpatch", "jsonschema", "rich"}:
            print(_NEEDS_SANDBOX, file=sys.stderr)  # noqa: T201 - the answer to the user
            return WRONG_USE
        raise


def _sandbox_usage(arguments: list[str]) -> int:
    asked_for = arguments in (["-h"], ["--help"])
    print(_SANDBOX_USAGE, file=sys.stdout if asked_for else sys.stderr)
    return SUCCESS if asked_for else WRONG_USE
