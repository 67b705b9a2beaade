"""kopf writes nothing of its own to any object, since the operator has no right to."""

import logging
from typing import Any, cast

import kopf
import pytest
from kopf._cogs.structs.finalizers import is_deletion_blocked
from kopf._cogs.structs.patches import Patch
from kopf._cogs.structs.references import Resource
from kopf._core.actions.application import apply

from trainingjob_api.constants import FINALIZER_RECORD, FINALIZER_RETENTION
from trainingjob_operator.handlers.lifecycle import operator_settings

POLICY = Resource("trainingjob.dev", "v1alpha1", "retentionpolicies", namespaced=True)


async def test_a_policy_that_is_deleted_while_its_timer_is_busy_is_not_patched() -> None:
    """kopf looks at a busy timer again after a wait, and would have itself called by a PATCH."""
    raw: Any = {"metadata": {"namespace": "ml", "name": "default", "uid": "u1"}}
    # A request would raise LookupError: there is no session.
    _, version, remaining = await apply(
        settings=operator_settings(clusterwide=True),
        resource=POLICY,
        body=kopf.Body(raw),
        patch=Patch(),
        delays=[0.0],
        logger=cast(Any, logging.getLogger(__name__)),
    )
    assert (version, remaining) == (None, None)


@pytest.mark.parametrize("finalizer", [FINALIZER_RECORD, FINALIZER_RETENTION])
def test_a_finalizer_of_ours_is_none_that_kopf_takes_off(finalizer: str) -> None:
    """It would, by a PATCH, from an object that no handler needs it for."""
    body = kopf.Body(cast(Any, {"metadata": {"finalizers": [finalizer]}}))
    kopfs = operator_settings(clusterwide=True).persistence.finalizer
    assert not is_deletion_blocked(body=body, finalizer=kopfs)
