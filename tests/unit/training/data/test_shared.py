"""A data set in memory once: what comes back, who loads, and what is left when a process is gone. Real processes."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch.utils.data import Subset, TensorDataset

import hpsearch
from hpsearch.training.context import TrialContext, activate
from hpsearch.training.data import shared as module
from hpsearch.training.data.content_hash import content_hash
from hpsearch.training.data.sealed_memory import block_names
from tests.support.waiting import until

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """No blocks yet, and locks and data of our own: other tests may run beside these."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    blocks = module._ProcessBlocks()
    monkeypatch.setattr(module, "_blocks", blocks)
    with activate(TrialContext(data={"mark": f"of {tmp_path}"})):
        yield blocks
    for block in blocks._blocks.values():
        os.close(block)


Pair = namedtuple("Pair", "first second")


@dataclass
class Table:
    columns: dict[str, torch.Tensor]
    names: list[str]


CONTENTS: dict[str, Callable[[], Any]] = {
    "tensors of every kind": lambda: [
        torch.arange(6).reshape(2, 3), torch.tensor(2.5), torch.ones(3, dtype=torch.bfloat16), torch.empty(0, 4),
        torch.tensor([True, False]), torch.tensor([1 + 2j]), torch.arange(6).reshape(2, 3).T, torch.ones(1).expand(4),
    ],
    "arrays": lambda: {
        "plain": numpy.arange(5), "columns": numpy.asfortranarray(numpy.ones((2, 3))), "text": numpy.array(["a", "bc"]),
        "part": numpy.arange(9)[::2], "none": numpy.zeros((0, 2)), "objects": numpy.array([1, None], dtype=object),
    },
    "a data set, and a part of it": lambda: (data := TensorDataset(torch.arange(4.0)), Subset(data, [1, 3])),
    "plain values": lambda: {"a": [1, 2.5, None, "x"], "pair": Pair(1, (2, 3)), "nothing": []},
    "an object of the user's": lambda: Table({"x": torch.arange(3)}, ["x"]),
    "a parameter and a sparse tensor": lambda: (torch.nn.Parameter(torch.ones(2)), torch.eye(2).to_sparse()),
}  # fmt: skip


def flat(value: Any) -> Any:
    """Something that can be compared with `==`."""
    if isinstance(value, torch.Tensor):
        value = value.to_dense() if value.layout != torch.strided else value
        return type(value).__name__, value.dtype, value.tolist()
    if isinstance(value, numpy.ndarray):
        return value.dtype, value.tolist()
    if isinstance(value, dict):
        return {key: flat(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value).__name__, [flat(inner) for inner in value]
    return (type(value).__name__, flat(vars(value))) if hasattr(value, "__dict__") else value


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_comes_back_is_what_was_loaded(content: Callable[[], Any]) -> None:
    for _ in range(2):  # who loaded it gets the same as who found it
        assert flat(hpsearch.shared_data(content)) == flat(content())


def noted(name: str = "a", size: int = 4) -> torch.Tensor:
    noted.calls.append(name)  # type: ignore[attr-defined]  # a list beside it would be a part of what it is
    return torch.zeros(size)


@pytest.fixture
def calls() -> list[str]:
    noted.calls = []  # type: ignore[attr-defined]
    return noted.calls  # type: ignore[attr-defined]


def test_it_is_loaded_once_and_each_call_gets_data_that_nobody_has_written_into(calls: list[str]) -> None:
    first = hpsearch.shared_data(noted)
    first += 1
    assert hpsearch.shared_data(noted).tolist() == [0, 0, 0, 0]
    assert calls == ["a"]


def test_other_arguments_are_other_data(calls: list[str]) -> None:
    hpsearch.shared_data(noted, "a")
    hpsearch.shared_data(noted, name="b")
    hpsearch.shared_data(partial(noted, "c"), size=8)
    hpsearch.shared_data(noted, "a")
    assert calls == ["a", "b", "c"]


@pytest.mark.usefixtures("calls")
def test_a_cache_around_the_function_is_passed_by() -> None:
    cached = cache(noted)
    hpsearch.shared_data(cached)
    assert cached.cache_info().currsize == 0, "it would hold a second copy"


def test_random_numbers_are_the_same_whoever_loads_and_the_trials_own_go_on_untouched() -> None:
    def draw() -> list[float]:
        return [float(torch.rand(())), random.random(), float(numpy.random.rand())]

    torch.manual_seed(5)
    random.seed(5)
    numpy.random.seed(5)
    expected = draw()
    torch.manual_seed(5)
    random.seed(5)
    numpy.random.seed(5)
    loaded = hpsearch.shared_data(draw)
    assert draw() == expected
    assert hpsearch.shared_data(draw) == loaded


def key(load: Callable[..., Any], *arguments: Any) -> str:
    return content_hash(load, arguments, {}, data={}, list_files=str)


def defined(source: str, **names: Any) -> Any:
    """`load`, defined by source of the user's."""
    space: dict[str, Any] = {"__name__": "users_own", **names}
    exec(compile(source, "/somewhere/users_own.py", "exec"), space)
    return space["load"]


def test_the_same_code_in_another_place_of_its_file_is_the_same() -> None:
    assert key(defined("def load(): return 1")) == key(defined("\n\n# moved\ndef load():\n    return 1"))


@pytest.mark.parametrize(
    "source",
    [
        "def load(): return 2",
        "def load(n=2): return n",
        "N = 2\ndef load(): return N",
        "def inner(): return 2\ndef load(): return inner()",
        "class Reader:\n    def read(self): return 2\ndef load(): return Reader().read()",
        "def load(): return (lambda: 2)()",
        "def load():\n    def deep(): return 2\n    return deep()",
        "def make(n):\n    def load(): return n\n    return load\nload = make(2)",
        "from functools import partial\ndef of(n): return n\nload = partial(of, 2)",
    ],
)
def test_a_change_anywhere_in_the_code_is_seen(source: str) -> None:
    assert key(defined(source)) == key(defined(source))
    assert key(defined(source)) != key(defined(source.replace("2", "3")))


def test_a_changed_file_is_seen_where_it_is_named_and_below_the_data(tmp_path: Path, calls: list[str]) -> None:
    file = tmp_path / "table.csv"
    with activate(TrialContext(data={"root": str(tmp_path)})):
        for text in ("1", "12", None):
            if text is not None:
                file.write_text(text)
            hpsearch.shared_data(noted, str(file))
            hpsearch.shared_data(noted, "below root")
    assert calls == [str(file), "below root", str(file), "below root"]


def test_a_file_of_the_same_size_and_time_with_other_content_is_seen(tmp_path: Path, calls: list[str]) -> None:
    """As files are that a tool dates the same each time, or that were written after the clock was set back."""
    file = tmp_path / "table.csv"
    for text in ("1", "2"):
        file.write_text(text)
        os.utime(file, (0, 0))
        hpsearch.shared_data(noted, str(file))
    (tmp_path / "new").write_text("3")
    os.utime(tmp_path / "new", (0, 0))
    (tmp_path / "new").rename(file)
    hpsearch.shared_data(noted, str(file))
    assert calls == [str(file)] * 3


def test_what_cannot_be_compared_or_shared_is_a_clear_error() -> None:
    with pytest.raises(TypeError, match="uses a value of type Table, which can't be compared between processes"):
        hpsearch.shared_data(noted, Table({}, []))  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"can't be shared between processes: cannot pickle .* Return tensors on the CPU"
    ):
        hpsearch.shared_data(lambda: sys.stdout)
    with pytest.raises(TypeError, match="a tensor is on meta"):
        hpsearch.shared_data(lambda: torch.ones(1, device="meta"))


def test_an_error_in_the_function_comes_through_and_the_next_call_tries_again(calls: list[str]) -> None:

    def once() -> int:
        noted()
        if len(noted.calls) == 1:  # type: ignore[attr-defined]
            raise FileNotFoundError("no data")
        return 1

    with pytest.raises(FileNotFoundError, match="no data"):
        hpsearch.shared_data(once)
    assert hpsearch.shared_data(once) == 1
    assert len(calls) == 2
    assert not list(Path(tempfile.gettempdir()).glob("*.lock"))


def test_much_that_cannot_be_shared_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE_BYTES", 1000)
    with pytest.warns(UserWarning, match=r"MiB of the result are not tensors or arrays of numbers"):
        hpsearch.shared_data(lambda: ["word"] * 2000)


def test_a_warm_process_closes_blocks_that_two_trials_in_a_row_did_not_use(blocks: Any, calls: list[str]) -> None:
    for number, name in enumerate(["a", "b", "b", "a", "b"], start=1):
        with activate(TrialContext(number=number)):
            hpsearch.shared_data(noted, name)
    assert calls == ["a", "b", "a"]
    assert len(block_names([os.getpid()]) & set(blocks._blocks)) == 2


def test_by_hand_a_process_holds_the_newest_four(blocks: Any) -> None:
    for name in "abcdef":
        hpsearch.shared_data(noted, name)
    assert len(blocks._blocks) == module.NUM_BY_HAND


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
import torch, hpsearch
from hpsearch.training.context import TrialContext, activate

def load():
    here = Path(os.environ["TMPDIR"])
    (here / f"loaded-{os.getpid()}").touch()
    if os.environ["WHAT"] == "dies":
        os.kill(os.getpid(), 9)
    return torch.ones(50 * 2**18)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
for what in map(str.strip, sys.stdin):
    if os.fork() == 0:  # with torch, which takes longer to import than all the rest
        os.environ["WHAT"] = what  # not a name in `load`, of which it would be a part
        with activate(TrialContext(data={"mark": "of " + os.environ["TMPDIR"]})):
            data = hpsearch.shared_data(load)
            if what == "writes":
                data.zero_()
        os.write(1, f"{os.getpid()} {int(data.sum())}\\n".encode())  # at once: others write there too
        time.sleep(100_000)  # its end is the test's
"""


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that forks one that loads for each line that it reads."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment, process_group=0) as process:
        yield process
        os.killpg(process.pid, signal.SIGKILL)


def told(forks: subprocess.Popen[str], *whats: str) -> dict[int, int]:
    """Start processes; the sum of each one's data by its process id."""
    assert forks.stdin is not None
    assert forks.stdout is not None
    forks.stdin.write("".join(f"{what}\n" for what in whats))
    forks.stdin.flush()
    answers = [forks.stdout.readline().split() for what in whats if what != "dies"]
    return {int(pid): int(total) for pid, total in answers}


def pss_mib(pid: int) -> int:
    """The process's share of the data's memory: a page that three map counts a third."""
    text = Path(f"/proc/{pid}/smaps").read_text()
    maps = re.findall(r"/memfd:hpsearch-data-.*?\nPss: +(\d+) kB", text, flags=re.DOTALL)
    return sum(int(kib) for kib in maps) // 1024


def test_processes_share_one_copy_and_nothing_is_left_after_a_kill(
    tmp_path: Path, forks: subprocess.Popen[str]
) -> None:
    def loads() -> int:
        return len(list(tmp_path.glob("loaded-*")))

    told(forks, "dies")  # in the middle of loading: the next one's turn
    until(lambda: (died := list(tmp_path.glob("loaded-*"))) and not Path("/proc", died[0].name[7:]).exists())
    readers = told(forks, "reads", "reads", "reads")
    assert set(readers.values()) == {50 * 2**18}
    assert loads() == 2, "by the one that died, and by one of the others"
    assert sum(map(pss_mib, readers)) in range(48, 53), "50 MiB once, for all"
    (writer,) = told(forks, "writes").items()
    assert writer[1] == 0
    assert set(told(forks, "reads").values()) == {50 * 2**18}, "who writes has a copy of its own"
    assert loads() == 2
    (name,) = block_names(readers)
    os.killpg(forks.pid, signal.SIGKILL)
    until(lambda: name not in block_names(int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()))
    assert not list(tmp_path.glob("*.lock"))
