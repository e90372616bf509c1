"""One cause and one sentence of evidence for everything that can go wrong."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from typing import Any

import pytest
import torch

from hpsearch.errors import CAUSE_CLASSES, InvalidConfig
from hpsearch.slots.diagnosis import (
    exit_evidence,
    failure_of,
    is_abort_of_watchdog,
    is_fatal_to_process,
    is_secondary,
)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ValueError("x"), "user_error"),
        (InvalidConfig("x"), "invalid_config"),
        (torch.OutOfMemoryError("x"), "oom_gpu"),
        (MemoryError(), "oom_host"),
        (OSError(errno.ENOSPC, "no space"), "disk_full"),
        (OSError(errno.ENOENT, "no file"), "user_error"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "gpu_fault"),
        (RuntimeError("CUDA error: device-side assert triggered"), "user_error"),
        (RuntimeError("shapes do not match"), "user_error"),
        (SystemExit(2), "user_error"),
    ],
)
def test_an_exception_has_one_cause(error, cause):
    assert failure_of(raised(error)).cause == cause


def test_a_file_that_is_beside_the_code_and_not_in_the_working_directory_is_pointed_out(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "data.csv").touch()
    script = tmp_path / "project" / "train.py"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        exec(compile("open('data.csv')", str(script), "exec"))
    assert failure_of(caught.value).evidence == (
        "FileNotFoundError: [Errno 2] No such file or directory: 'data.csv', looked for in the working directory"
        f" {tmp_path}; it is beside train.py: write Path(__file__).parent / 'data.csv', or start the sweep in"
        f" {script.parent} (project/train.py:1 in <module>)"
    )


@pytest.mark.parametrize("source", ["open('nowhere.csv')", "open('/nowhere.csv')", "raise FileNotFoundError(2, 'x')"])
def test_a_file_that_is_nowhere_is_left_to_the_message_of_python(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        exec(compile(source, str(tmp_path / "train.py"), "exec"))
    assert failure_of(caught.value).evidence == f"FileNotFoundError: {caught.value} (train.py:1 in <module>)"


def test_the_evidence_names_the_users_own_last_frame():
    def own():
        return torch.zeros(2, 3) @ torch.zeros(4, 5)

    try:
        own()
    except RuntimeError as error:
        failure = failure_of(error)
    assert "test_diagnosis.py:" in failure.evidence and "in own" in failure.evidence
    assert failure.place is not None and failure.place.startswith("RuntimeError at")


def test_an_error_that_arrives_as_another_names_the_users_own_frame_too():
    def own():
        yield next(iter(()))

    rows = own()
    try:
        list.extend([], rows)  # a RuntimeError, whose cause is the StopIteration
    except RuntimeError as error:
        behind = error.__cause__
    arrived = RuntimeError("generator raised StopIteration")
    arrived.__cause__ = behind
    assert "in own)" in failure_of(arrived).evidence


def test_an_error_that_is_its_own_cause_has_one_all_the_same():
    def own():
        try:
            int("x")
        except ValueError as error:
            raise error from error

    try:
        own()
    except ValueError as error:
        failure = failure_of(error)
        assert failure.cause == "user_error" and "in own)" in failure.evidence
        assert failure_of(error.with_traceback(None)).cause == "user_error"


def test_an_error_without_a_readable_message_has_its_cause_all_the_same():
    class Mute(RuntimeError):
        def __str__(self) -> str:
            return self.what  # type: ignore[attr-defined]

    error = raised(Mute())
    assert (
        failure_of(error).evidence.startswith("Mute (") and not is_secondary(error) and not is_fatal_to_process(error)
    )


def test_a_trial_whose_working_directory_is_gone_has_its_cause_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    names: dict[str, Any] = {}
    exec(compile("def own(): raise ValueError('x')", "train.py", "exec"), names)
    with pytest.raises(ValueError, match="x") as error:
        names["own"]()
    assert failure_of(error.value).evidence == "ValueError: x (train.py:1 in own)"


def test_a_long_message_is_one_short_line():
    failure = failure_of(raised(ValueError("many\nlines " * 500)))
    assert "\n" not in failure.evidence and len(failure.evidence) < 700


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (torch.OutOfMemoryError("x"), False),
        (ValueError("x"), False),
    ],
)
def test_only_a_broken_device_costs_the_process(error, expected):
    assert is_fatal_to_process(error) is expected


def test_a_consequence_of_another_ranks_failure_is_recognised():
    assert is_secondary(RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer [127.0.0.1]:1234"))
    assert is_secondary(torch.distributed.DistStoreError("wait timeout after 120000ms"))
    assert not is_secondary(RuntimeError("no such layer"))
    assert not is_secondary(KeyError("gloo"))
    assert not is_secondary(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))  # of a download


def test_what_the_users_own_code_raises_is_no_consequence_whatever_it_says():
    assert not is_secondary(raised(RuntimeError("timed out waiting for the data server")))
    consequence = RuntimeError("rank 0 has failed")
    consequence.__context__ = torch.distributed.DistBackendError("NCCL error")
    assert is_secondary(raised(consequence))


def test_the_abort_by_the_watchdog_of_nccl_is_recognised():
    log = "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3, OpType=ALLREDUCE)"
    assert is_abort_of_watchdog(int(signal.SIGABRT), log)
    assert not is_abort_of_watchdog(int(signal.SIGABRT), "") and not is_abort_of_watchdog(int(signal.SIGKILL), log)


def test_an_interrupt_is_a_signal_that_ended_the_trial():
    failure = failure_of(raised(KeyboardInterrupt()))
    assert failure.cause == "killed" and failure.evidence.startswith("signal 2 (Interrupt) ended it (")


def test_a_fatal_signal_is_read_from_the_log():
    text = "epoch 1\nFatal Python error: Segmentation fault\n\nCurrent thread"
    assert f"signal {int(signal.SIGSEGV)} (Segmentation fault)" in exit_evidence(rank=1, pid=7, log_tail=text)
    assert "rank 1 (process 7)" in exit_evidence(rank=1, pid=7, log_tail="")


def test_the_signal_that_terminates_an_actor_is_read_from_the_log():
    code = (
        "import os, signal\nfrom hpsearch.slots.resident.termination import die_by_sigterm\ndie_by_sigterm()\n"
        "def train():\n    os.kill(os.getpid(), signal.SIGTERM)\n\ntrain()\nprint('trained on')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGTERM and ended.stdout == "" and "in train" in ended.stderr
    evidence = exit_evidence(rank=0, pid=7, log_tail=ended.stderr)
    assert evidence == "rank 0 (process 7) was killed by signal 15 (Terminated); its stack is in the log"


def test_every_cause_has_a_class():
    from typing import get_args

    from hpsearch.errors import Cause

    assert set(CAUSE_CLASSES) == set(get_args(Cause))
