"""The nodes of a Ray: what each has, whether all see the same files, and whether some join or leave."""

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
"""Seconds within which every node must have checked its files; a node that has not counts as one without them."""
CHECK_EVERY_S = 2.0
"""Seconds between two checks of which nodes there are."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine of a Ray."""

    id: str
    """Ray's id of the node, in hexadecimal digits."""
    address: str
    """Its IP address."""
    cpus: float
    """CPUs that Ray manages on it."""
    gpus: int
    """GPUs that Ray manages on it."""


@dataclass(frozen=True, kw_only=True)
class Files:
    """The files that every node needs to see."""

    home: Path
    """The home folder, which all nodes must be able to write: it holds the trials' logs and checkpoints."""
    code: Mapping[str, str]
    """File, relative to the working directory or absolute, to the SHA-256 of its content."""


def live_nodes() -> tuple[Node, ...]:
    """The live nodes of the Ray that this process is connected to, the node of this process first."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    found = [_node(each) for each in _listed() if each["Alive"]]
    return tuple(sorted(found, key=lambda node: (node.id != own, node.address, node.id)))


def this_node() -> Node | None:
    """The node of this process; None if Ray doesn't list it (any more)."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    return next((_node(each) for each in _listed() if each["NodeID"] == own), None)


def is_alive(node_id: str) -> bool:
    """Whether Ray lists a node as alive."""
    return any(each["Alive"] for each in _listed() if each["NodeID"] == node_id)


def check_files(nodes: Sequence[Node], files: Files) -> bool:
    """Check that all nodes can write the home folder, and whether they have the code.

    This process writes a file that every node reads, and every node writes one that this process looks for.

    Returns:
        Whether all nodes have the code: the same files with the same content.

    Raises:
        SpecError: A node does not see the folder, or does not answer; the message says what to do.
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


def moved(path: str, *, old: str, new: str) -> str:
    """The path on one node for a path on another, whose folder `old` is the folder `new` here.

    Args:
        path: An absolute path; it need not exist. One that is not below `old` is returned unchanged.
        old: Folder on the other node, for example the driver's working directory.
        new: The same folder on this node.

    Example:
        >>> moved("/work/src/a.py", old="/work", new="/tmp/x"), moved("/lib/b.py", old="/work", new="/tmp/x")
        ('/tmp/x/src/a.py', '/lib/b.py')
    """
    return str(Path(new) / Path(path).relative_to(old)) if Path(path).is_relative_to(old) else path


@final
class NodeWatch:
    """Calls a function when nodes have joined or left."""

    def __init__(
        self,
        nodes: Sequence[Node],
        on_change: Callable[[tuple[Node, ...], str], None],
        *,
        look: Callable[[], tuple[Node, ...]] = live_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the watch; the first check is due after CHECK_EVERY_S seconds.

        Args:
            nodes: The nodes at the start.
            on_change: Called with the present nodes, and a text that says what has changed.
            look: Returns the present nodes.
            clock: A monotonic time in seconds.
        """
        self._nodes, self._on_change, self._look, self._clock = tuple(nodes), on_change, look, clock
        self._last = clock()

    def tick(self) -> None:
        """Check the nodes, unless the last check was less than CHECK_EVERY_S seconds ago."""
        if self._clock() - self._last < CHECK_EVERY_S:
            return
        self._last = self._clock()
        now = self._look()
        before, after = {node.id: node for node in self._nodes}, {node.id: node for node in now}
        changes = [f"node {after[each].address} has joined" for each in after.keys() - before.keys()]
        changes += [f"node {before[each].address} is gone" for each in before.keys() - after.keys()]
        self._nodes = now
        if changes:
            self._on_change(now, ", ".join(sorted(changes)))


def _listed() -> list[dict[str, Any]]:
    """All nodes that Ray has ever had, as Ray lists them."""
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
    """Node id to (whether it can read the probe and write beside it, whether it has the code)."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def look(node_id: str) -> tuple[bool, bool]:  # pickled by value: the node need not have hpsearch yet
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
