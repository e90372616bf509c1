"""Notes on a valid spec that may mean something else than its author thinks, each with its key path.

A note is no mistake: the sweep runs. So each is given only where the spec is hardly ever meant, and can be silenced by
writing what is meant. Notes on single parameters are in `parameter_surprises.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from hpsearch.errors import Problem
from hpsearch.spec.dialects.translate import Translation
from hpsearch.spec.parameter_surprises import parameter_surprises
from hpsearch.trainable.arguments import KNOWN

HIGHER_IS_BETTER = frozenset(("acc", "accuracy", "auc", "auroc", "bleu", "f1", "iou", "miou", "psnr", "reward"))
"""Last words of the names of metrics that are maximised."""
LOWER_IS_BETTER = frozenset(("loss", "error", "err", "mse", "rmse", "mae", "nll", "perplexity", "ppl"))
"""Last words of the names of metrics that are minimised."""
NEGATED = frozenset(("neg", "negative", "minus", "inv", "inverse", "inverted"))
"""Words that turn the direction of a metric round."""
SUBTRACTED = re.compile(r"(1 ?)?-")
"""Beginning of the name of a metric that is negated, such as `1-acc`."""
OPTION = re.compile(r"--?[A-Za-z][^\s=]*\s")
"""Beginning of an argument that is an option and, after a blank, its value."""


def find_surprises(translation: Translation) -> list[Problem]:
    """The notes on a valid spec, with key paths in `translation.tree`."""
    tree = translation.tree
    return [
        *_about_metric(tree["metric"]),
        *parameter_surprises(tree["parameters"], translation.originals),
        *_about_arguments(tree.get("arguments") or ()),
    ]


def _about_metric(metric: Mapping[str, str]) -> Iterator[Problem]:
    words = re.findall(r"[a-z0-9]+", metric["name"].lower())
    if not words or not NEGATED.isdisjoint(words) or SUBTRACTED.match(metric["name"]):
        return
    is_wrong = {"minimize": words[-1] in HIGHER_IS_BETTER, "maximize": words[-1] in LOWER_IS_BETTER}
    if is_wrong[metric["goal"]]:
        verb, other, better = {
            "minimize": ("minimised", "maximize", "higher"),
            "maximize": ("maximised", "minimize", "lower"),
        }[metric["goal"]]
        message = f"{metric['name']} is {verb}. Write goal: {other} if {better} is better."
        yield Problem(where=("metric", "goal"), message=message)


def _about_arguments(arguments: Sequence[str]) -> Iterator[Problem]:
    for position, text in enumerate(arguments):
        if message := _about_argument(text):
            yield Problem(where=("arguments", position), message=message)


def _about_argument(text: str) -> str | None:
    """The note on one argument of a script: it has a blank after an option's name, or a macro within other text."""
    macro = next((f"${{{name}}}" for name in KNOWN if f"${{{name}}}" in text), None)
    if macro is not None and text != macro:
        return f"{macro} is replaced only as an item of its own, and '{text}' reaches the script as it is. Split it."
    if OPTION.match(text.strip()):
        option, value = text.split(maxsplit=1)
        return f"'{text}' reaches the script as one argument, blank included. Write two items: '{option}', '{value}'."
    return None
