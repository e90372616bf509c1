"""The machines of a Ray that runs already: what each has, and whether all of them see the same files."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from hpsearch.errors import Problem, SpecError

PROBE_TIMEOUT_S = 60.0
"""A node that has not looked at its files by then can't be used."""
LOOK_EVERY_S = 2.0
"""How often a running sweep looks which nodes there are."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine of a Ray."""

    id: str
    """As Ray names it."""
    address: str
    """Its IP address."""
    cpus: float
    """CPUs that Ray manages on it."""
    gpus: int
    """GPUs that Ray manages on it."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """What every node needs to see."""

    home: Path
    """A folder that all must be able to write: trials leave logs and checkpoints below it."""
    code: Mapping[str, str]
    """File, relative to the working directory or absolute, to the SHA-256 of its content."""


def live_nodes() -> tuple[Node, ...]:
    """The nodes of the Ray that this process is connected to, this process's own first."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    found = [_node(each) for each in _listed() if each["Alive"]]
    return tuple(sorted(found, key=lambda node: (node.id != own, node.address, node.id)))


def this_node() -> Node | None:
    """The node of this process; None where Ray doesn't list it (any more)."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    return next((_node(each) for each in _listed() if each["NodeID"] == own), None)


def is_alive(node_id: str) -> bool:
    """Whether Ray believes that a node lives."""
    return any(each["Alive"] for each in _listed() if each["NodeID"] == node_id)


def check_files(nodes: Sequence[Node], files: Files) -> bool:
    """Prove that all nodes can write the home folder, and see whether they have the code.

    A file of this process is read on every node, and one that every node writes is looked for here.

    Returns:
        Whether all nodes see the code in the working directory.

    Raises:
        SpecError: A node does not see the folder, or does not answer; says what to do.
    """
    token = secrets.token_hex(16)
    probe = files.home.resolve() / f".probe-{token}"
    code = {str(Path(name).resolve()): digest for name, digest in files.code.items() if Path(name).is_file()}
    probe.write_text(token, encoding="utf-8")
    try:
        seen = _ask(nodes, str(probe), token, code)
        blind = [node for node in nodes if not (seen[node.id][0] and Path(f"{probe}.{node.id}").exists())]
    finally:
        for path in probe.parent.glob(f"{probe.name}*"):
            with suppress(OSError):
                path.unlink()
    if blind:
        raise SpecError([_not_shared(files.home, blind)])
    return all(sees_code for _, sees_code in seen.values())


@final
class NodeWatch:
    """Tells when the nodes are others than before."""

    def __init__(
        self,
        nodes: Sequence[Node],
        on_change: Callable[[tuple[Node, ...], str], None],
        *,
        look: Callable[[], tuple[Node, ...]] = live_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to watch.

        Args:
            nodes: Those at the start.
            on_change: Gets the nodes of now, and what happened in words.
            look: Finds the nodes.
            clock: Seconds that never go back.
        """
        self._nodes, self._on_change, self._look, self._clock = tuple(nodes), on_change, look, clock
        self._last = clock()

    def tick(self) -> None:
        """To be called often; looks at most every LOOK_EVERY_S seconds."""
        if self._clock() - self._last < LOOK_EVERY_S:
            return
        self._last = self._clock()
        now = self._look()
        before, after = {node.id: node for node in self._nodes}, {node.id: node for node in now}
        words = [f"node {after[each].address} has joined" for each in after.keys() - before.keys()]
        words += [f"node {before[each].address} is gone" for each in before.keys() - after.keys()]
        self._nodes = now
        if words:
            self._on_change(now, ", ".join(sorted(words)))


def _listed() -> list[dict[str, Any]]:
    """All nodes that Ray has known, the dead ones too."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


def _node(entry: Mapping[str, Any]) -> Node:
    resources = entry["Resources"]
    return Node(
        id=entry["NodeID"],
        address=entry["NodeManagerAddress"],
        cpus=float(resources.get("CPU", 0.0)),
        gpus=int(resources.get("GPU", 0)),
    )


def _ask(nodes: Iterable[Node], probe: str, token: str, code: Mapping[str, str]) -> dict[str, tuple[bool, bool]]:
    """Node to (it reads and writes beside the probe, it has the code)."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def look(node_id: str) -> tuple[bool, bool]:  # travels by value: the node need not have hpsearch yet
        from hashlib import sha256
        from pathlib import Path as FilePath

        def has(name: str, digest: str) -> bool:
            path = FilePath(name)
            return path.is_file() and sha256(path.read_bytes()).hexdigest() == digest

        try:
            sees = FilePath(probe).read_text(encoding="utf-8") == token
            FilePath(f"{probe}.{node_id}").write_text(token, encoding="utf-8")
        except OSError:
            sees = False
        return sees, all(has(name, digest) for name, digest in code.items())

    task = ray.remote(num_cpus=0, max_retries=0)(look)
    pinned = {node.id: NodeAffinitySchedulingStrategy(node.id, soft=False) for node in nodes}
    asked = {each: task.options(scheduling_strategy=where).remote(each) for each, where in pinned.items()}
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=PROBE_TIMEOUT_S)
    found: dict[str, tuple[bool, bool]] = {}
    for each, answer in asked.items():
        try:
            found[each] = ray.get(answer, timeout=0.1)
        except (ray.exceptions.RayError, TimeoutError):
            found[each] = (False, False)
    return found


def _not_shared(home: Path, blind: Sequence[Node]) -> Problem:
    where = ", ".join(dict.fromkeys(node.address for node in blind))
    message = (
        f"the folder {home.resolve()} is not the same on all nodes: it can't be read and written on {where}. Trials"
        " leave their checkpoints there, wherever they run. Name a folder of a disk that all nodes share with --home"
        " (or HPSEARCH_HOME), or use a Ray with one node."
    )
    return Problem(where=("ray", "address"), message=message)


def moved(path: str, *, old: str, new: str) -> str:
    """A path below the folder `old` as one below `new`; any other as it is.

    Example:
        >>> moved("/work/src/a.py", old="/work", new="/tmp/x"), moved("/lib/b.py", old="/work", new="/tmp/x")
        ('/tmp/x/src/a.py', '/lib/b.py')
    """
    return str(Path(new) / Path(path).relative_to(old)) if Path(path).is_relative_to(old) else path
