"""Content of the record, and what is masked in it."""

import json
from dataclasses import replace
from typing import Any

from tests.support.builders import make_job
from tests.support.views import at
from trainingjob_operator.core.job import Condition, JobStatus
from trainingjob_operator.core.observe_job import job_view
from trainingjob_operator.core.record import (
    MAX_LINE_BYTES,
    build_record,
    encode_record,
    idempotency_key,
    record_line,
    without_spec,
)

Object = dict[str, Any]
UID = "11111111-aaaa-4bbb-8ccc-222222222222"
FINISHED = JobStatus(
    phase="Succeeded",
    conditions=(
        Condition(
            type="Finished",
            status=True,
            reason="CompletionsReached",
            message="the rank completed",
            last_transition_time=at(0),
        ),
    ),
    start_time=at(-90),
    completion_time=at(0),
    attempt=2,
    restarts=1,
    disruptions=1,
    exit_code=0,
    record_revision=1,
)


def raw_job(**fields: Any) -> Object:
    raw = make_job(**fields)
    raw["metadata"] |= {"uid": UID, "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1}
    raw["metadata"]["resourceVersion"] = "7"
    return raw


def record_of(raw: Object, status: JobStatus = FINISHED, **labels: str) -> Object:
    return build_record(job_view(raw), status, labels=labels, spec=raw["spec"], cluster="west")


def test_the_record_contains_the_outcome_of_the_job() -> None:
    record = record_of(raw_job(nodes=2, framework="Torch"), team="vision")
    spec = record.pop("spec")
    assert spec["numNodes"] == 2
    assert record == {
        "schemaVersion": 1,
        "revision": 1,
        "cluster": "west",
        "uid": UID,
        "namespace": "ml",
        "name": "mnist",
        "labels": {"team": "vision"},
        "attempt": 2,
        "phase": "Succeeded",
        "reason": "CompletionsReached",
        "message": "the rank completed",
        "createdAt": "2026-01-01T00:00:00Z",
        "startedAt": "2026-01-01T11:58:30Z",
        "completedAt": "2026-01-01T12:00:00Z",
        "durationSeconds": 90,
        "numNodes": 2,
        "framework": "Torch",
        "images": ["example/mnist:1.0"],
        "resources": {},
        "restarts": 1,
        "disruptions": 1,
        "exitCode": 0,
        "logs": None,
    }


def test_a_job_that_never_started_has_no_duration() -> None:
    record = record_of(raw_job(), replace(FINISHED, start_time=None))
    assert (record["startedAt"], record["durationSeconds"]) == (None, None)


def test_values_of_environment_variables_are_masked() -> None:
    raw = raw_job(env={"PASSWORD": "hunter2"})
    pod = raw["spec"]["template"]["spec"]
    secret = {"secretKeyRef": {"name": "db", "key": "password"}}
    pod["containers"][0]["env"].append({"name": "FROM_SECRET", "valueFrom": secret})
    pod["initContainers"] = [
        {"name": "init", "image": "init:1", "env": [{"name": "TOKEN", "value": "hunter2"}]}
    ]
    record = record_of(raw)
    assert "hunter2" not in json.dumps(record)
    masked = record["spec"]["template"]["spec"]
    assert masked["containers"][0]["env"] == [
        {"name": "PASSWORD", "value": "***"},
        {"name": "FROM_SECRET", "valueFrom": secret},
    ]
    assert masked["initContainers"][0]["env"] == [{"name": "TOKEN", "value": "***"}]
    assert record["images"] == ["example/mnist:1.0", "init:1"]
    assert raw["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] == "hunter2"


def test_the_resources_are_those_of_the_main_container() -> None:
    raw = raw_job()
    limits = {"limits": {"cpu": 2, "nvidia.com/gpu": "1"}}
    raw["spec"]["template"]["spec"]["containers"] = [
        {"name": "sidecar", "image": "s"},
        {"name": "trainer", "image": "t", "resources": limits},
    ]
    assert record_of(raw)["resources"] == limits


def test_an_invalid_spec_still_gives_a_record() -> None:
    raw = raw_job()
    raw["spec"] = {"template": {"spec": {"containers": ["?"], "initContainers": 7}}}
    record = record_of(raw)
    assert (record["images"], record["resources"]) == ([], {})


def test_non_finite_numbers_become_null_and_invalid_unicode_is_escaped() -> None:
    body = encode_record({"uid": "u", "revision": 1, "nan": float("nan"), "odd": "a\ud800b"})
    assert json.loads(body) == {"uid": "u", "revision": 1, "nan": None, "odd": "a\\ud800b"}


def test_equal_records_have_equal_idempotency_keys_and_others_differ() -> None:
    record = record_of(raw_job())
    shuffled = dict(reversed(list(record.items())))
    other = record | {"exitCode": 1}
    keys = [idempotency_key(r, encode_record(r)) for r in (record, shuffled, other)]
    assert keys[0] == keys[1] != keys[2]
    assert keys[0].startswith(f"{UID}:1:")


def test_non_ascii_text_does_not_enlarge_the_record() -> None:
    raw = raw_job()
    raw["spec"]["template"]["spec"]["containers"][0]["args"] = ["данные" * 10_000]
    spec_bytes = len(json.dumps(raw["spec"], ensure_ascii=False).encode())
    body = encode_record(record_of(raw))
    assert len(body) < spec_bytes + 2_000
    assert json.loads(body)["spec"] == record_of(raw)["spec"]


def test_a_record_for_the_log_is_one_line_and_keeps_its_summary_when_it_is_too_long() -> None:
    raw = raw_job()
    short = record_line(record_of(raw, team="a\u2028b\nc"))
    assert json.loads(short) == record_of(raw, team="a\u2028b\nc")
    assert short.isascii()
    assert short.isprintable()
    raw["spec"]["template"]["spec"]["containers"][0]["args"] = ["я" * MAX_LINE_BYTES]
    line = record_line(record_of(raw, team="vision"))
    assert json.loads(line) == without_spec(record_of(raw, team="vision"))
    labels: dict[str, Any] = {f"key-{number}": "v" * 60 for number in range(MAX_LINE_BYTES // 60)}
    assert len(record_line(record_of(raw, **labels))) < MAX_LINE_BYTES


def test_credentials_are_masked_in_the_record_and_its_encoding_is_stable() -> None:
    raw = raw_job()
    container = raw["spec"]["template"]["spec"]["containers"][0]
    container["command"] = ["sh", "-c", "train --hub-token hunter2 s3://bucket"]
    container["args"] = ["--password", "hunter2", "--data=https://user:hunter2@host/set"]
    condition = replace(FINISHED.conditions[0], message="GET https://h/x?token=hunter2 failed")
    status = replace(FINISHED, conditions=(condition,))
    body = encode_record(record_of(raw, status))
    assert b"hunter2" not in body
    assert body == encode_record(record_of(raw, status))
    assert json.loads(body)["message"] == "GET https://h/x?token=*** failed"
    kept = json.loads(body)["spec"]["template"]["spec"]["containers"][0]
    assert kept["command"] == ["sh", "-c", "train --hub-token *** s3://bucket"]
    assert container["args"][1] == "hunter2", "the job itself is left as it was"
