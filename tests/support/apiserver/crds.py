"""Deletes both CRDs while an operator runs, and creates them again."""

import asyncio
import time
from typing import Any, Final

from tests.support.apiserver.api import Api
from tests.support.builders import make_job, unscheduled
from trainingjob_api.crd import retention_policy_crd, training_job_crd
from trainingjob_sandbox.client import ApiError

Object = dict[str, Any]
DEFINITIONS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GONE_S: Final = 40.0
"""The API server looks every five seconds whether the objects have gone."""


def read_crds() -> list[Object]:
    """Return both CRDs."""
    return [training_job_crd(), retention_policy_crd()]


async def delete_crds(api: Api) -> None:
    """Delete both CRDs, and wait until they no longer exist.

    Raises:
        AssertionError: one is still there after `GONE_S`; the message shows it.
    """
    names = [crd["metadata"]["name"] for crd in read_crds()]
    for name in names:
        await api.client.delete(f"{DEFINITIONS}/{name}")
    deadline = time.monotonic() + GONE_S
    while left := [name for name in names if (await _get(api, name)) is not None]:
        assert time.monotonic() < deadline, f"{left} are still there"
        await asyncio.sleep(0.1)


async def create_crds(api: Api) -> None:
    """Create both CRDs, and wait until the API server accepts their objects."""
    for crd in read_crds():
        await api.client.create(DEFINITIONS, crd)
    for crd in read_crds():
        deadline = time.monotonic() + GONE_S
        while not _is_established(await _get(api, crd["metadata"]["name"])):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def apply_when_served(api: Api, name: str) -> None:
    """Create a job of one pod, with retries: discovery lists the kind shortly before it is served."""
    deadline = time.monotonic() + GONE_S
    while True:
        try:
            await api.apply(unscheduled(make_job(name)))
        except ApiError as error:
            if not error.not_found or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return


async def _get(api: Api, name: str) -> Object | None:
    try:
        return await api.client.get(f"{DEFINITIONS}/{name}")
    except ApiError as error:
        if error.not_found:
            return None
        raise


def _is_established(crd: Object | None) -> bool:
    conditions = ((crd or {}).get("status") or {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
