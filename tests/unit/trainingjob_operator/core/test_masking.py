"""Everything that looks like a credential is masked, and other text is unchanged."""

import json
import time
from typing import Any

import pytest

from trainingjob_operator.core.masking import mask_arguments, mask_object, mask_text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("s3://bucket/data", "s3://bucket/data"),
        ("https://user:p@ss@host/x", "https://***@host/x"),
        ("git clone https://ghp_abc@github.com/o/r", "git clone https://***@github.com/o/r"),
        ("redis://:pw@h:6379/0, amqp://u:p@i", "redis://***@h:6379/0, amqp://***@i"),
        ("https://h/x?a=1&X-Amz-Signature=ab%2F&b=2", "https://h/x?a=1&X-Amz-Signature=***&b=2"),
        ("https://h/x?sv=1&sig=ab%3D#top", "https://h/x?sv=1&sig=***#top"),
        ("'https://h/?access_token=ab'", "'https://h/?access_token=***'"),
        ("https://h/?q=1&page=2", "https://h/?q=1&page=2"),
        ("train --hf-token abc --lr 3", "train --hf-token *** --lr 3"),
        ("train --password='a b' -key \"c d\"; ls", "train --password=*** -key *** ls"),
        ("HF_TOKEN=abc WANDB_API_KEY=d python t.py", "HF_TOKEN=*** WANDB_API_KEY=*** python t.py"),
        ("train --use-token --lr 3", "train --use-token --lr 3"),
        ("train --token=$(TOKEN) --key ${KEY}", "train --token=$(TOKEN) --key ${KEY}"),
        ("train --tokenizer bert --max-tokens 512", "train --tokenizer bert --max-tokens 512"),
        ("train --password 12345", "train --password ***"),
        ("cat /run/secrets/token then", "cat /run/secrets/token then"),
        ("registry.example/key-server:v1", "registry.example/key-server:v1"),
        ('{"api_key": "a b", "lr": 1}', '{"api_key": "***", "lr": 1}'),
        ("Authorization: Bearer abcdefghijklmnop.q", "Authorization: Bearer ***"),
        ("the basic training", "the basic training"),
        ("--\u0442\u043e\u043a\u0435\u043d \u0430", "--\u0442\u043e\u043a\u0435\u043d \u0430"),
    ],
)
def test_credentials_in_a_text_are_masked(text: str, masked: str) -> None:
    assert mask_text(text) == masked
    assert mask_text(mask_text(text)) == mask_text(text)


@pytest.mark.parametrize(
    ("arguments", "masked"),
    [
        (["--token", "abc", "--lr", "3"], ["--token", "***", "--lr", "3"]),
        (["--token=a b; c", "x"], ["--token=***", "x"]),
        (["--use-key", "--lr", "3"], ["--use-key", "--lr", "3"]),
        (["--secret", "a --b c"], ["--secret", "***"]),
        (["sh", "-c", "exec t --token abc"], ["sh", "-c", "exec t --token ***"]),
        (["--key", "$(KEY)", "--max-tokens", "9"], ["--key", "$(KEY)", "--max-tokens", "9"]),
        (["--db=postgres://u:p@h/d", 7, None], ["--db=postgres://***@h/d", 7, None]),
    ],
)
def test_a_list_of_arguments_is_masked_across_its_items(
    arguments: list[object], masked: list[object]
) -> None:
    assert mask_arguments(arguments) == masked
    assert mask_arguments(masked) == masked


def test_an_object_is_masked_wherever_text_is_in_it_and_nothing_else_changes() -> None:
    manifest = {"env": [{"name": "PASSWORD", "value": "hunter2"}]}
    spec: dict[str, Any] = {
        "template": {
            "metadata": {
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": json.dumps(manifest),
                    "example.com/api-token": "hunter2",
                    "example.com/source": "https://u:hunter2@h/x",
                    "example.com/owner": "vision",
                }
            },
            "spec": {
                "containers": [
                    {
                        "args": ["--token", "hunter2"],
                        "readinessProbe": {
                            "httpGet": {
                                "httpHeaders": [{"name": "X-Api-Key", "value": "hunter2"}]
                            },
                            "exec": {"command": ["check", "--password=hunter2"]},
                        },
                        "env": [
                            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
                        ],
                    }
                ],
                "imagePullSecrets": [{"name": "pull"}],
                "tolerations": [{"key": "gpu", "value": "yes"}],
            },
        }
    }
    before = json.dumps(spec)
    masked = mask_object(spec)
    assert "hunter2" not in json.dumps(masked)
    assert mask_object(masked) == masked
    assert json.dumps(spec) == before
    pod, was = masked["template"]["spec"], spec["template"]["spec"]
    assert pod["containers"][0]["env"] == was["containers"][0]["env"]
    assert (pod["imagePullSecrets"], pod["tolerations"]) == (
        was["imagePullSecrets"],
        was["tolerations"],
    )
    assert masked["template"]["metadata"]["annotations"]["example.com/owner"] == "vision"


@pytest.mark.parametrize(
    "part", ["token", '--key "', '--key "\\', "://", "a@", "?&", "key='", "bearer ", "--", "a="]
)
def test_an_adversarial_text_of_a_megabyte_is_masked_in_linear_time(part: str) -> None:
    begun = time.process_time()
    mask_text(part * (1_000_000 // len(part)))
    assert time.process_time() - begun < 10, "quadratic would be hours"
