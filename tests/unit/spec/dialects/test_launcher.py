"""What the launchers in a W&B sweep's `command` become: workers of a trial, or a mistake that says what to write."""

from __future__ import annotations

from typing import Any

import pytest

from hpsearch.errors import SpecError
from hpsearch.spec.dialects.translate import translate
from hpsearch.spec.sweep import Sweep
from hpsearch.trainable.arguments import DEFAULT, command_line

WANDB: dict[str, Any] = {
    "program": "train.py",
    "method": "random",
    "metric": {"name": "loss"},
    "parameters": {"lr": {"min": 0.001, "max": 0.1}},
}
SCRIPT = ["${program}", "${args}"]
Words = list[Any]


def sweep_of(*command: Any, **changes: Any) -> Sweep:
    return Sweep.from_dict({**WANDB, "command": list(command), **changes})


def mistake(*command: Any, **changes: Any) -> str:
    with pytest.raises(SpecError) as caught:
        sweep_of(*command, **changes)
    (found,) = str(caught.value).splitlines()
    return found


@pytest.mark.parametrize(
    ("launcher", "workers"),
    [
        (["torchrun", "--standalone", "--nproc_per_node=2"], 2),
        (["torchrun", "--nproc-per-node", "4"], 4),
        (["torchrun", "--nproc_per_node", 2, "--nnodes=1", "--node_rank", "0"], 2),
        (["torchrun", "--nnodes", "1:1", "--nproc-per-node=3", "--rdzv-backend=c10d", "--rdzv_endpoint", "a:0"], 3),
        (["torchrun", "--master_port=29500", "--max-restarts", "0", "--nproc_per_node=2"], 2),
        (["torchrun"], 1),
        (["${env}", "/opt/conda/bin/torchrun", "--nproc_per_node=2"], 2),
        (["${env}", "${interpreter}", "-m", "torch.distributed.run", "--nproc_per_node=2"], 2),
        (["python", "-u", "-m", "torch.distributed.launch", "--use_env", "--nproc_per_node", "2"], 2),
        (["accelerate", "launch", "--num_processes", "2"], 2),
        (["accelerate", "launch", "--multi_gpu", "--num-processes=4", "--mixed_precision=no"], 4),
        (["accelerate", "launch", "--num_processes=2", "--num_machines=1", "--machine_rank", 0, "--gpu_ids=all"], 2),
        (["accelerate", "launch", "--dynamo_backend", "no", "--main_process_port=0", "--num_processes=2"], 2),
        (["accelerate-launch", "--num_processes=1"], 1),
        (["python3", "-m", "accelerate.commands.launch", "--num_processes=2"], 2),
        (["deepspeed", "--no_local_rank", "--num_gpus", 2], 2),
        (["deepspeed", "--no_local_rank", "--num_nodes=1", "--num_gpus=8", "--master_port", 29501], 8),
    ],
    ids=lambda each: " ".join(map(str, each)) if isinstance(each, list) else "",
)
def test_a_launcher_becomes_workers(launcher: Words, workers: int) -> None:
    sweep = sweep_of(*launcher, *SCRIPT)
    assert (sweep.resources.workers, sweep.trainable, sweep.arguments) == (workers, "train.py", None)
    assert sweep.resources.gpu == "auto"
    assert Sweep.from_dict(sweep.to_dict()) == sweep
    assert sweep_of(*launcher, *SCRIPT, resources={"workers": workers, "cpu": 2}).resources.cpu == 2


@pytest.mark.parametrize(
    ("command", "script", "arguments"),
    [
        (["torchrun", "--nproc_per_node=2", "other.py", "--epochs", "3", "${args}"], "other.py", ["--epochs", "3"]),
        (["torchrun", "--nproc_per_node=2", "-m", "jobs.train", "--tiny", "${args}"], "jobs/train.py", ["--tiny"]),
        (["accelerate", "launch", "--num_processes=2", "--module", "jobs.train", "${args}"], "jobs/train.py", []),
        (["deepspeed", "--no_local_rank", "--num_gpus=2", "${program}", "--deepspeed", "zero.json", "${args}"],
         "train.py", ["--deepspeed", "zero.json"]),
    ],
)  # fmt: skip
def test_arguments_after_the_script_are_the_scripts(command: Words, script: str, arguments: list[str]) -> None:
    sweep = sweep_of(*command)
    assert sweep.resources.workers == 2
    assert (sweep.trainable, sweep.arguments or [*DEFAULT]) == (script, [*arguments, "${args}"])


@pytest.mark.parametrize(
    ("launcher", "option"),
    [
        (["deepspeed", "--num_gpus=2"], "--local_rank"),
        (["python", "-m", "torch.distributed.launch", "--nproc_per_node=2"], "--local-rank"),
    ],
)
def test_a_script_that_is_given_its_local_rank_still_is(
    launcher: Words, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = sweep_of(*launcher, *SCRIPT).arguments
    assert arguments is not None
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert command_line({"lr": 0.1}, arguments) == [f"{option}=1", "--lr=0.1"]
    monkeypatch.delenv("LOCAL_RANK")
    assert command_line({"lr": 0.1}, arguments) == [f"{option}=0", "--lr=0.1"], "one process alone is the first"


def test_accelerate_on_the_cpu_asks_for_no_gpu() -> None:
    resources = sweep_of("accelerate", "launch", "--cpu", "--num_processes=2", *SCRIPT).resources
    assert (resources.workers, resources.gpu) == (2, 0)
    assert mistake("accelerate", "launch", "--cpu", "--num_processes=2", *SCRIPT, resources={"gpu": 1}) == (
        "command: accelerate launch means resources.gpu: 0, and resources.gpu is 1. Keep one of them."
    )


def test_workers_that_the_spec_sets_otherwise_are_a_mistake() -> None:
    command = ["torchrun", "--nproc_per_node=2", *SCRIPT]
    sentence = "command: torchrun means resources.workers: 2, and resources.workers is 4. Keep one of them."
    assert mistake(*command, resources={"workers": 4}) == sentence
    assert mistake(*command, resources_per_trial={"workers": 4}) == sentence
    example = "Write for example resources: {cpu: 2, gpu: 1}."
    assert mistake(*command, resources=3) == f"resources: expected a map, got 3. {example}"
    assert mistake(*command, resources={"gpu": 0.5}).startswith("resources.gpu: expected whole GPUs for 2 workers")


REFUSED: list[tuple[Words, str]] = [
    (["torchrun", "--nproc_per_node=gpu"],
     "torchrun --nproc_per_node: expected a whole number above 0, got 'gpu'. Write for example --nproc_per_node=2."),
    (["torchrun", "--nproc-per-node", "auto"],
     "torchrun --nproc-per-node: expected a whole number above 0, got 'auto'. Write for example --nproc-per-node=2."),
    (["torchrun", "--nproc_per_node=0"],
     "torchrun --nproc_per_node: expected a whole number above 0, got '0'. Write for example --nproc_per_node=2."),
    (["deepspeed", "--num_gpus", "-1"],
     "deepspeed --num_gpus: expected a whole number above 0, got '-1'. Write for example --num_gpus=2."),
    (["torchrun", "--nnodes=2", "--nproc_per_node=4"],
     "torchrun --nnodes: a command starts the processes of one machine, got '2'. Write resources: {workers: N}"
     " with the number of all processes, instead of torchrun."),
    (["torchrun", "--nproc_per_node=4", "--nnodes", "1:4"],
     "torchrun --nnodes: a command starts the processes of one machine, got '1:4'. Write resources: {workers: N}"
     " with the number of all processes, instead of torchrun."),
    (["accelerate", "launch", "--num_machines=2", "--num_processes=8"],
     "accelerate launch --num_machines: a command starts the processes of one machine, got '2'. Write resources:"
     " {workers: N} with the number of all processes, instead of accelerate launch."),
    (["torchrun", "--nproc_per_nod=2"],
     "torchrun --nproc_per_nod: the option can't be translated. Did you mean '--nproc_per_node'? Remove it, or write"
     " resources: {workers: 2} instead of torchrun."),
    (["accelerate", "launch", "--use_fsdp", "--num_processes=2"],
     "accelerate launch --use_fsdp: the option can't be translated. Remove it, or write resources: {workers: 2}"
     " instead of accelerate launch."),
    (["accelerate", "launch", "--config_file=a.yaml"],
     "accelerate launch --config_file: the option can't be translated. Remove it, or write resources: {workers: 2}"
     " instead of accelerate launch."),
    (["accelerate", "launch", "--num_processes=2", "--mixed_precision", "bf16"],
     "accelerate launch --mixed_precision: the script would not receive it, got 'bf16'. Write"
     " Accelerator(mixed_precision='bf16') in the script, and remove it here."),
    (["accelerate", "launch", "--num_processes=2", "--dynamo_backend=inductor"],
     "accelerate launch --dynamo_backend: the script would not receive it, got 'inductor'. Write"
     " Accelerator(dynamo_backend='inductor') in the script, and remove it here."),
    (["torchrun", "--max_restarts=3", "--nproc_per_node=2"],
     "torchrun --max_restarts: hpsearch retries failed trials itself, got '3'. Write limits: {retries: 3}, and"
     " remove it here."),
    (["accelerate", "launch", "--gpu_ids=0,1", "--num_processes=2"],
     "accelerate launch --gpu_ids: hpsearch chooses the GPUs of each trial, got '0,1'. Remove it."),
    (["deepspeed", "--include", "localhost:0,1"],
     "deepspeed --include: hpsearch chooses the GPUs of each trial, got 'localhost:0,1'. Write --num_gpus and how"
     " many."),
    (["accelerate", "launch"],
     "accelerate launch: the number of processes is missing. Write for example --num_processes=2."),
    (["deepspeed"], "deepspeed: the number of processes is missing. Write for example --num_gpus=2."),
]  # fmt: skip


@pytest.mark.parametrize(("launcher", "sentence"), REFUSED, ids=lambda each: str(each)[:60])
def test_other_options_of_a_launcher_are_refused_with_what_to_write(launcher: Words, sentence: str) -> None:
    assert mistake(*launcher, *SCRIPT) == f"command: {sentence}"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["torchrun", "--nproc_per_node"], "torchrun --nproc_per_node: the value is missing. Write for example"),
        (["torchrun", "--nproc_per_node=2"], "expected a command that runs the program. Write ${program} in place"),
        (
            ["torchrun", "--nproc_per_node=2", "run.sh"],
            "expected a command that runs the program. Write ${program} in place",
        ),
        (["accelerate", "config"], "expected a command that runs the program."),
        (["srun", "torchrun", "--nproc_per_node=2", "${program}"], "'srun' can't start the script, which hpsearch"),
    ],
)
def test_a_command_that_does_not_run_the_script_is_refused(command: Words, sentence: str) -> None:
    assert mistake(*command).startswith(f"command: {sentence}")


def test_a_command_in_hpsearchs_keys_is_unchanged() -> None:
    ours = translate({**WANDB, "command": ["torchrun", "--nproc_per_node=2", *SCRIPT]}).tree
    assert ours["resources"] == {"workers": 2}
    assert translate(ours).tree == ours
