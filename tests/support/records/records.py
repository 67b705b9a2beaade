"""Records as the operator sends them."""

import hashlib
import json
from typing import Any
from uuid import uuid4

Record = dict[str, Any]


def make_record(uid: str | None = None, **fields: Any) -> Record:
    """A complete record of a finished job, changed as a test needs it."""
    record: Record = {
        "schemaVersion": 1,
        "revision": 1,
        "cluster": "lab",
        "uid": uid or str(uuid4()),
        "namespace": "ml",
        "name": "resnet",
        "labels": {"team": "vision"},
        "attempt": 0,
        "phase": "Succeeded",
        "reason": "AllRanksCompleted",
        "message": "all 2 ranks completed",
        "createdAt": "2026-03-01T10:00:00Z",
        "startedAt": "2026-03-01T10:00:05Z",
        "completedAt": "2026-03-01T11:00:05Z",
        "durationSeconds": 3600,
        "numNodes": 2,
        "framework": "Torch",
        "images": ["registry.example/train:1"],
        "resources": {"limits": {"cpu": "2"}},
        "restarts": 0,
        "disruptions": 0,
        "exitCode": 0,
        "logs": None,
        "spec": {
            "numNodes": 2,
            "template": {
                "spec": {
                    "containers": [{"name": "main", "env": [{"name": "TOKEN", "value": "***"}]}]
                }
            },
        },
    }
    return record | fields


def encode(record: Record) -> bytes:
    """Return the body; equal records have equal bytes."""
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


def idempotency_key(record: Record, body: bytes) -> str:
    """Return the Idempotency-Key as the contract defines it."""
    return f"{record['uid']}:{record['revision']}:{hashlib.sha256(body).hexdigest()}"
