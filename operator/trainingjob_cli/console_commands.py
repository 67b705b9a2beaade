"""Defines `trainingjob console`, which serves the web console."""

from typing import Final

import click

from trainingjob_cli.shared import needs_extra

_NOT_INSTALLED: Final = "the console is not installed; in a clone: pip install '.[console]'"
_MODULES: Final = frozenset(
    {"prometheus_client", "starlette", "trainingjob_console", "uvicorn", "websockets"}
)


@click.command(
    short_help="Serve the web console: live jobs, logs, history.",
    epilog="All settings are environment variables TRAININGJOB_CONSOLE_...; see docs/console.md.",
)
@click.option("--address", help="host:port to serve on (default: 127.0.0.1:8070).")
@click.option(
    "--auth",
    type=click.Choice(["token", "none"]),
    help="token: users log in with a Kubernetes token (default); none: no login, only on loopback.",
)
@click.option(
    "--kubeconfig", help="Kubeconfig of the console's own account (default: KUBECONFIG)."
)
def console(address: str | None, auth: str | None, kubeconfig: str | None) -> int:
    """Serve the web console: live jobs, logs, history and retention, with each user's own rights."""
    with needs_extra(_NOT_INSTALLED, _MODULES):
        from trainingjob_console.command import serve_console  # noqa: PLC0415

        return serve_console(address=address, auth=auth, kubeconfig=kubeconfig)
