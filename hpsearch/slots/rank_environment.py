"""The position of a rank in its trial, and the environment variables that say so, named as `torchrun` names them.

PyTorch, accelerate, Lightning, Transformers and scripts written for `torchrun` read these variables: without them each
rank would silently train alone, on all of the data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DRIVERS_OWN = re.compile(
    r"(LOCAL_|GROUP_|ROLE_|NODE_)?RANK|((LOCAL|GROUP|ROLE)_)?WORLD_SIZE|ROLE_NAME|MASTER_(ADDR|PORT)"
    r"|(TORCHELASTIC|SLURM|OMPI|PMI|PMIX|PMI2|MV2)_.*"
)
"""Variables that say which process of a parallel program the driver itself is; they do not hold for its trials."""


@dataclass(frozen=True, kw_only=True)
class RankPosition:
    """The position of one rank in its trial, in the terms of `torchrun`."""

    rank: int = 0
    """This rank, in [0, world_size)."""
    world_size: int = 1
    """Processes of the trial."""
    local_rank: int = 0
    """This rank among those of the trial on its node, in [0, local_world_size)."""
    local_world_size: int = 1
    """Processes of the trial on this node."""
    node_rank: int = 0
    """This node among those of the trial, in [0, num_nodes)."""
    num_nodes: int = 1
    """Nodes on which the trial has processes."""
    gpus: str = ""
    """CUDA_VISIBLE_DEVICES: the GPUs of all ranks of the trial on this node, the first GPU of this rank at index
    `local_rank`."""
    address: str = "127.0.0.1"
    """Address of rank 0's node as the other ranks reach it; the loopback where all are on one node."""


@dataclass(frozen=True, kw_only=True)
class Rendezvous:
    """Where the ranks of one attempt meet: a TCP store that the actor of rank 0 hosts."""

    address: str
    """Address of the store."""
    port: int
    """Port of the store."""
    run: str
    """An id that no other attempt has."""


def rank_positions(nodes: Sequence[str], gpus: Sequence[str], addresses: Sequence[str]) -> list[RankPosition]:
    """The positions of all ranks of a trial, in the order of the ranks.

    Args:
        nodes: Ray's id of each rank's node.
        gpus: CUDA_VISIBLE_DEVICES of each rank, as Ray has set it.
        addresses: Address of each rank's node.

    Example:
        >>> [position.gpus for position in rank_positions(["a", "a"], ["2", "0"], ["10.0.0.1", "10.0.0.1"])]
        ['2,0', '2,0']
    """
    order = list(dict.fromkeys(nodes))
    members = {node: [rank for rank, each in enumerate(nodes) if each == node] for node in order}
    return [
        RankPosition(
            rank=rank,
            world_size=len(nodes),
            local_rank=members[node].index(rank),
            local_world_size=len(members[node]),
            node_rank=order.index(node),
            num_nodes=len(order),
            gpus=_interleaved([gpus[each] for each in members[node]]),
            address="127.0.0.1" if len(order) == 1 else addresses[0],
        )
        for rank, node in enumerate(nodes)
    ]


def rank_variables(position: RankPosition, rendezvous: Rendezvous | None) -> dict[str, str]:
    """The environment variables that name a rank's position; empty without a rendezvous, for a trial of one process."""
    if rendezvous is None:
        return {}
    return {
        "RANK": str(position.rank),
        "LOCAL_RANK": str(position.local_rank),
        "WORLD_SIZE": str(position.world_size),
        "LOCAL_WORLD_SIZE": str(position.local_world_size),
        "GROUP_RANK": str(position.node_rank),
        "NODE_RANK": str(position.node_rank),
        "GROUP_WORLD_SIZE": str(position.num_nodes),
        "ROLE_RANK": str(position.rank),
        "ROLE_NAME": "default",
        "ROLE_WORLD_SIZE": str(position.world_size),
        "MASTER_ADDR": rendezvous.address,
        "MASTER_PORT": str(rendezvous.port),
        "TORCHELASTIC_RUN_ID": rendezvous.run,
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_MAX_RESTARTS": "0",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
    }


def without_rank_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """A copy of an environment without the variables that say which rank of a parallel program its owner is."""
    return {name: value for name, value in environment.items() if not DRIVERS_OWN.fullmatch(name)}


def _interleaved(lists: Sequence[str]) -> str:
    """The first GPU of each rank, then the second of each, so that `cuda:LOCAL_RANK` is one of the rank's own GPUs."""
    split = [[each for each in text.split(",") if each] for text in lists]
    longest = max(map(len, split), default=0)
    ordered = [each[index] for index in range(longest) for each in split if index < len(each)]
    return ",".join(dict.fromkeys(ordered))
