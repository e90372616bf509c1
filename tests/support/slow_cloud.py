"""A cloud for Ray's autoscaler whose machines never come up: an order is taken, or refused, and that is all."""

from __future__ import annotations

import threading
from typing import Any

import ray
from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

HEAD_TYPE, HEAD_ID = "head", "f" * 51 + "00000"
REFUSED_TYPE = "rare"
"""A type of node of which the cloud has none."""
WORKERS = {"plain": {"CPU": 4}, REFUSED_TYPE: {"CPU": 1, "GPU": 1}}
_machines: dict[str, dict[str, str]] = {
    HEAD_ID: {
        TAG_RAY_NODE_KIND: NODE_KIND_HEAD,
        TAG_RAY_USER_NODE_TYPE: HEAD_TYPE,
        TAG_RAY_NODE_NAME: HEAD_ID,
        TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
    }
}


class SlowCloud(NodeProvider):
    """What the autoscaler asks of a cloud, of either version."""

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        return [name for name, tags in _machines.items() if tag_filters.items() <= tags.items()]

    def is_running(self, node_id: str) -> bool:
        return node_id in _machines

    def is_terminated(self, node_id: str) -> bool:
        return node_id not in _machines

    def node_tags(self, node_id: str) -> dict[str, str]:
        return _machines[node_id]

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        _machines[node_id].update(tags)

    def internal_ip(self, node_id: str) -> str:
        return str(ray.util.get_node_ip_address()) if node_id == HEAD_ID else f"10.0.0.{len(node_id)}"

    external_ip = internal_ip

    def create_node_with_resources_and_labels(
        self, node_config: Any, tags: dict[str, str], count: int, resources: Any, labels: Any
    ) -> None:
        if tags[TAG_RAY_USER_NODE_TYPE] == REFUSED_TYPE:
            raise NodeLaunchException("quota", "no machine of this type is left", None)
        for _ in range(count):
            _machines[f"machine-{len(_machines)}"] = dict(tags)

    def create_node(self, node_config: Any, tags: dict[str, str], count: int) -> None:
        self.create_node_with_resources_and_labels(node_config, tags, count, {}, {})

    def terminate_node(self, node_id: str) -> None:
        _machines.pop(node_id, None)

    def get_command_runner(self, *_: Any, **__: Any) -> Any:
        """Of a machine that never answers."""
        return _Silence()

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        return cluster_config


class _Silence:
    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: threading.Event().wait()


def cluster_config() -> dict[str, Any]:
    """What `ray start --autoscaling-config` reads, as a tree."""
    provider = {
        "type": "external",
        "module": "tests.support.slow_cloud.SlowCloud",
        "head_node_id": HEAD_ID,
        "launch_multiple": True,
    }
    types = {
        name: {"resources": has, "node_config": {}, "min_workers": 0, "max_workers": 2} for name, has in WORKERS.items()
    }
    head = {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0}
    files = {"file_mounts": {}, "cluster_synced_files": [], "file_mounts_sync_continuously": False}
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "slow",
        "max_workers": 4,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "docker": {},
        "auth": {},
        "provider": provider,
        "available_node_types": types | {HEAD_TYPE: head},
        "head_node_type": HEAD_TYPE,
        **files,
        **{f"{name}_commands": [] for name in commands},
    }
