"""Whether training code calls Ray itself, read from its source."""

from __future__ import annotations

import pytest

from hpsearch.trainable.ray_calls import ray_call


@pytest.mark.parametrize(
    ("source", "use"),
    [
        ("import ray\ndef train(config):\n    return ray.get(config['ref'])", "ray.get"),
        ("import ray as r\n@r.remote\ndef load(): ...", "ray.remote"),
        ("from ray import tune, data", "ray.data"),
        ("import ray.data", "ray.data"),
        ("from ray.util.queue import Queue", "ray.util"),
        ("def train(config):\n    import ray\n    ray.init()", "ray.init"),
    ],
)
def test_a_use_of_rays_own_tasks_objects_and_data_is_found(source: str, use: str) -> None:
    assert ray_call(source) == use


@pytest.mark.parametrize(
    "source",
    [
        "from ray import tune\ndef train(config):\n    tune.report({'loss': 1})",
        "import ray.tune\ndef train(config):\n    ray.tune.report({'loss': 1})",
        "from ray.tune import Checkpoint, report",
        "from ray import tune\nif __name__ == '__main__':\n    import ray\n    ray.init()",
        "array = object()\narray.get",
        "this is no Python",
    ],
)
def test_what_reports_to_ray_tune_alone_needs_no_ray(source: str) -> None:
    assert ray_call(source) is None
