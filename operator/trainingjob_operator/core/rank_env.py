"""Builds the environment variables for the rendezvous of ranks, with one function per framework.

Sources: torch.distributed's environment initialisation and torchrun's `PET_` prefix; JAX's
distributed initialisation; TensorFlow's `TF_CONFIG`; XGBoost's tracker (DMLC) variables.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One rank and the addresses of the others.

    Attributes:
        first: the host name of rank 0.
        hosts: the host name of every rank, in rank order.
        port: the rendezvous port, on which rank 0 listens.
        port_step: difference between the ports of two successive ranks; 0: all use the same port.
        procs: processes that the user's launcher starts on each node.
    """

    index: int
    first: str
    hosts: tuple[str, ...]
    port: int
    port_step: int = 0
    procs: int

    @property
    def nodes(self) -> int:
        """The number of ranks."""
        return len(self.hosts)


def _plain(rank: Rank) -> dict[str, str]:
    return {}


def _torch(rank: Rank) -> dict[str, str]:
    return {
        "MASTER_ADDR": rank.first,
        "MASTER_PORT": str(rank.port),
        "WORLD_SIZE": str(rank.nodes * rank.procs),
        "RANK": str(rank.index * rank.procs),
        "PET_NNODES": str(rank.nodes),
        "PET_NPROC_PER_NODE": str(rank.procs),
        "PET_NODE_RANK": str(rank.index),
        "PET_MASTER_ADDR": rank.first,
        "PET_MASTER_PORT": str(rank.port),
    }


def _jax(rank: Rank) -> dict[str, str]:
    return {
        "JAX_COORDINATOR_ADDRESS": f"{rank.first}:{rank.port}",
        "JAX_NUM_PROCESSES": str(rank.nodes),
        "JAX_PROCESS_ID": str(rank.index),
    }


def _tensorflow(rank: Rank) -> dict[str, str]:
    workers = [f"{host}:{rank.port + i * rank.port_step}" for i, host in enumerate(rank.hosts)]
    cluster = {"worker": workers}
    task = {"type": "worker", "index": rank.index}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task}, separators=(",", ":"))}


def _xgboost(rank: Rank) -> dict[str, str]:
    return {
        "DMLC_TRACKER_URI": rank.first,
        "DMLC_TRACKER_PORT": str(rank.port),
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


LARGE_VARIABLES: Final = frozenset({"TF_CONFIG"})
"""Variables whose size grows with the number of ranks; only the main container gets them."""


def rank_variables(framework: str, rank: Rank) -> dict[str, str]:
    """Return the framework's variables for one rank, in the order in which they are set."""
    return _BY_FRAMEWORK[framework](rank)
