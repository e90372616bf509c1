"""A rank's children of every kind end with it: real processes, no Ray."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from hpsearch.slots.process_file import Process, RankProcess, TrialProcesses
from hpsearch.slots.process_tree import kill_ranks, kill_tree
from tests.support.waiting import until

RANK = """
import os, subprocess, sys, time
from hpsearch.slots.process_tree import claim_descendants

claim_descendants()
SLEEP = [sys.executable, "-c", "import os, time; os.write(1, b'%d\\\\n' % os.getpid()); time.sleep(600)"]
subprocess.Popen(SLEEP)
subprocess.Popen(SLEEP, start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(SLEEP[0], SLEEP)
    os._exit(0)
if os.fork() == 0:
    os.write(1, b"%d\\n" % os.getpid())  # in one call: they share the pipe
    time.sleep(600)
time.sleep(600)
"""


REAPING = """
import multiprocessing, os, sys
from hpsearch.slots.process_tree import claim_descendants, reap

claim_descendants()
for _ in range(3):
    if os.fork() == 0:
        os.fork()
        os._exit(0)
    os.wait()
worker = multiprocessing.get_context("fork").Process(target=sys.exit, args=(7,))
worker.start()
print("started", flush=True)
sys.stdin.readline()
reap()
print(worker.exitcode, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def rank() -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A process that leads its group, as a Ray worker does, and its child, detached child, daemon and fork."""
    command = [sys.executable, "-c", RANK]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes, text=True, start_new_session=True) as process:  # type: ignore[call-overload]
        try:
            children = [psutil.Process(int(process.stdout.readline())) for _ in range(4)]
            yield process, children
        finally:
            kill_tree(Process.of(process.pid))


def test_all_that_a_rank_has_started_ends_with_it(rank):
    process, children = rank
    assert set(psutil.Process(process.pid).children(recursive=True)) >= set(children), "the daemon was adopted"
    kill_tree(Process.of(process.pid))
    gone, alive = psutil.wait_procs(children, timeout=60)
    assert (len(gone), alive) == (4, [])
    process.wait()


def test_what_a_dead_rank_has_left_is_found_by_its_mark(rank):
    process, children = rank
    as_of = Process.of(process.pid)
    process.kill()
    process.wait()
    kill_tree(as_of)
    assert psutil.wait_procs(children, timeout=60)[1] == []


def test_a_rank_that_left_nothing_is_no_error():
    process = subprocess.Popen(["true"])
    as_of = Process.of(process.pid)
    process.wait()
    kill_tree(as_of)


def test_nothing_is_left_of_adopted_processes_that_have_ended():
    command = [sys.executable, "-c", REAPING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout and process.stdout.readline() == "started\n"
        children = psutil.Process(process.pid).children
        until(lambda: [child.status() for child in children()] == 4 * [psutil.STATUS_ZOMBIE])
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "7\n", "who has a handle learns how it has ended"
        assert children() == []


def test_only_ranks_of_this_machine_are_killed_and_no_other_process_with_the_same_id(rank):
    process, _ = rank
    as_of = Process.of(process.pid)
    others = (
        replace(as_of, host="elsewhere"),
        replace(as_of, boot="before"),
        replace(as_of, started=as_of.started - 1),
    )
    kill_ranks(TrialProcesses(attempt=1, ranks=tuple(RankProcess(process=each, gpus="") for each in others)))
    assert process.poll() is None
    kill_ranks(TrialProcesses(attempt=1, ranks=(RankProcess(process=as_of, gpus=""),)))
    assert process.wait() == -signal.SIGKILL
