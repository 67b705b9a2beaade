"""The variables by which ranks know themselves and find each other, one function a framework.

Sources: torch.distributed's environment initialisation and torchrun's `PET_` prefix; JAX's
distributed initialisation; TensorFlow's `TF_CONFIG`; XGBoost's tracker (DMLC) variables.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from trainingjob_operator.constants import RENDEZVOUS_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One rank's place in its job.

    Attributes:
        hosts: the host name of every rank, in rank order.
        procs: processes that the user's launcher starts on each node.
    """

    index: int
    hosts: tuple[str, ...]
    procs: int

    @property
    def nodes(self) -> int:
        """How many ranks there are."""
        return len(self.hosts)


def _plain(rank: Rank) -> dict[str, str]:
    return {}


def _torch(rank: Rank) -> dict[str, str]:
    return {
        "MASTER_ADDR": rank.hosts[0],
        "MASTER_PORT": str(RENDEZVOUS_PORT),
        "WORLD_SIZE": str(rank.nodes * rank.procs),
        "RANK": str(rank.index * rank.procs),
        "PET_NNODES": str(rank.nodes),
        "PET_NPROC_PER_NODE": str(rank.procs),
        "PET_NODE_RANK": str(rank.index),
        "PET_MASTER_ADDR": rank.hosts[0],
        "PET_MASTER_PORT": str(RENDEZVOUS_PORT),
    }


def _jax(rank: Rank) -> dict[str, str]:
    return {
        "JAX_COORDINATOR_ADDRESS": f"{rank.hosts[0]}:{RENDEZVOUS_PORT}",
        "JAX_NUM_PROCESSES": str(rank.nodes),
        "JAX_PROCESS_ID": str(rank.index),
    }


def _tensorflow(rank: Rank) -> dict[str, str]:
    cluster = {"worker": [f"{host}:{RENDEZVOUS_PORT}" for host in rank.hosts]}
    task = {"type": "worker", "index": rank.index}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task}, separators=(",", ":"))}


def _xgboost(rank: Rank) -> dict[str, str]:
    return {
        "DMLC_TRACKER_URI": rank.hosts[0],
        "DMLC_TRACKER_PORT": str(RENDEZVOUS_PORT),
        "DMLC_TASK_ID": str(rank.index),
        "DMLC_NUM_WORKER": str(rank.nodes),
    }


_BY_FRAMEWORK: Final[Mapping[str, Callable[[Rank], dict[str, str]]]] = {
    "Plain": _plain,
    "Torch": _torch,
    "JAX": _jax,
    "TensorFlow": _tensorflow,
    "XGBoost": _xgboost,
}


def rank_variables(framework: str, rank: Rank) -> dict[str, str]:
    """The variables of one rank under this framework, in the order in which they are set."""
    return _BY_FRAMEWORK[framework](rank)
