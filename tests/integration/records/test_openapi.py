"""The service conforms to its OpenAPI document, tested with Schemathesis."""

import sys
from pathlib import Path

import pytest

from tests.support.processes.programs import run_program
from tests.support.records.service import TOKEN, Client, RecordServiceProcess

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
    "unsupported_method",
)


@pytest.mark.long
async def test_the_service_conforms_to_its_openapi_document(
    service: RecordServiceProcess, client: Client, tmp_path: Path
) -> None:
    done = await run_program(
        str(Path(sys.executable).with_name("st")),
        "run",
        f"{service.url}/openapi.json",
        f"--header=Authorization: Bearer {TOKEN}",
        f"--checks={','.join(CHECKS)}",
        "--max-examples=25",
        "--phases=examples,coverage,fuzzing",
        "--seed=1",
        "--generation-database=none",
        "--no-color",
        cwd=tmp_path,
    )
    assert done.code == 0, done.output
    assert "3 selected / 3 total" in done.output
    assert "Traceback" not in service.log()


async def test_the_document_names_every_field_of_the_contract(client: Client) -> None:
    document = (await client.get("/openapi.json")).json
    record = document["components"]["schemas"]["Record"]
    assert {"schemaVersion", "revision", "uid", "namespace", "name"} == set(record["required"])
    assert {"durationSeconds", "exitCode", "images", "spec", "logs"} <= set(record["properties"])
    put = document["paths"]["/api/v1/jobs/{uid}"]["put"]
    assert {"200", "400", "401", "409", "413", "415", "422", "503"} <= set(put["responses"])
    assert put["security"]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_no_documentation_page_with_external_scripts_is_served(
    client: Client, path: str
) -> None:
    assert (await client.get(path)).status == 404
