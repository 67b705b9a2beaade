"""The token of the record service is created once, in the cluster, and then kept."""

import asyncio
import base64
import os
from pathlib import Path

from tests.support.apiserver.api import Api, Object
from tests.support.processes.child import clean_environment
from tests.support.processes.commands import Outcome, run_trainingjob
from trainingjob_operator.kube.connection import connect
from trainingjob_operator.kube.secret import SecretGateway

NAME = "records"


async def make_secret(api: Api, **data: str) -> None:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    body: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME},
        **({"data": encoded} if data else {}),
    }
    await api.client.create(f"/api/v1/namespaces/{api.namespace}/secrets", body)


async def secret_data(api: Api) -> dict[str, str]:
    found = await api.client.get(f"/api/v1/namespaces/{api.namespace}/secrets/{NAME}")
    return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}


async def ensure(api: Api, output: Path, *, secret: str = NAME) -> Outcome:
    """Run `trainingjob record-token`."""
    return await run_trainingjob(
        *("record-token", "--secret", f"{api.namespace}/{secret}", "--output", str(output)),
        environment=clean_environment() | {"KUBECONFIG": str(api.server.kubeconfig)},
    )


async def test_a_secret_without_a_token_gets_one_and_keeps_it(api: Api, tmp_path: Path) -> None:
    await make_secret(api, other="stays")

    first = await ensure(api, tmp_path / "token")
    assert first.code == 0, first.errors
    made = await secret_data(api)
    assert made["other"] == "stays"
    assert len(made["token"]) > 40
    assert (tmp_path / "token").read_text() == f"{made['token']}\n"
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert made["token"] not in first.output + first.errors

    second = await ensure(api, tmp_path / "again")
    assert second.code == 0, second.errors
    assert await secret_data(api) == made
    assert (tmp_path / "again").read_text() == f"{made['token']}\n"
    assert sorted(os.listdir(tmp_path)) == ["again", "token"]  # noqa: PTH208 - no loop is kept


async def test_each_key_has_a_token_of_its_own(api: Api, tmp_path: Path) -> None:
    await make_secret(api, token="kept")
    files = {"token": tmp_path / "writer", "read-token": tmp_path / "reader"}
    pairs = [word for key, file in files.items() for word in ("--key", key, "--output", str(file))]
    done = await run_trainingjob(
        *("record-token", "--secret", f"{api.namespace}/{NAME}", *pairs),
        environment=clean_environment() | {"KUBECONFIG": str(api.server.kubeconfig)},
    )
    assert done.code == 0, done.errors
    made = await secret_data(api)
    assert {key: file.read_text().strip() for key, file in files.items()} == made
    assert made["token"] == "kept"
    assert len(made["read-token"]) > 40


async def test_concurrent_creators_agree_on_one_token(api: Api) -> None:
    await make_secret(api)
    connection = await connect(str(api.server.kubeconfig))
    async with SecretGateway(connection, timeout_s=15) as gateway:
        told = await asyncio.gather(
            *(
                gateway.get_or_set_value(
                    api.namespace, NAME, "token", proposal=f"proposal-{number}"
                )
                for number in range(8)
            )
        )
    assert len(set(told)) == 1
    assert await secret_data(api) == {"token": told[0]}


async def test_a_missing_secret_is_reported_in_one_line(api: Api, tmp_path: Path) -> None:
    done = await ensure(api, tmp_path / "token", secret="nowhere")
    assert done.code == 1
    assert done.errors == (
        f"trainingjob record-token: there is no Secret nowhere in {api.namespace}\n"
    )


async def test_a_missing_folder_is_reported_in_one_line(api: Api, tmp_path: Path) -> None:
    await make_secret(api)
    done = await ensure(api, tmp_path / "missing" / "token")
    assert done.code == 2
    assert "--output: cannot write" in done.errors
    assert len(done.errors.splitlines()) == 1
