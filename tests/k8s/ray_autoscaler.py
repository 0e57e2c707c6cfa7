"""Ray's own KubeRay autoscaler asked about a manifest, without a cluster.

The one place that uses Ray's private interfaces for it (Ray 2.60): no other test does.
"""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.k8s.manifests import Manifest, cluster_of


@dataclass(frozen=True)
class Bundle:
    """What one actor asks for: resources by Ray's names, and labels of nodes."""

    resources: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)


def pods_to_start(
    manifest: Manifest, bundles: Sequence[Mapping[str, float] | Bundle]
) -> dict[str, int] | None:
    """How many pods of each group would be started for bundles that are needed all at once.

    Args:
        manifest: A RayService or RayJob.
        bundles: The bundles of resources, by Ray's names, with or without labels.

    Returns: By group; None where the groups can never hold them together.
    """
    from ray.autoscaler._private.kuberay import autoscaling_config
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.core.generated.autoscaler_pb2 import GangResourceRequest

    cluster = copy.deepcopy(cluster_of(manifest))
    for group in cluster["workerGroupSpecs"]:
        # From nothing: what runs all the time is started for it, too.
        group["minReplicas"] = 0
    resource = {"metadata": {"name": "x", "namespace": "kintsugi"}, "spec": cluster}
    derived = autoscaling_config._derive_autoscaling_config_from_ray_cr(resource)
    config = AutoscalingConfig(configs=derived, skip_content_hash=True)
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_nodes(),
        gang_resource_requests=[
            GangResourceRequest(requests=[_request(bundle) for bundle in bundles])
        ],
    )
    reply = ResourceDemandScheduler(event_logger=None).schedule(request)
    if reply.infeasible_gang_resource_requests:
        return None
    found: Counter[str] = Counter()
    for launch in reply.to_launch:
        found[launch.instance_type] += launch.count
    # The head is always there.
    del found["headgroup"]
    return dict(found)


def _request(bundle: Mapping[str, float] | Bundle) -> Any:
    from ray.autoscaler.v2.utils import ResourceRequestUtil
    from ray.core.generated.common_pb2 import LabelSelectorOperator

    if not isinstance(bundle, Bundle):
        return ResourceRequestUtil.make(dict(bundle))
    selector = [
        # Ours are all of this kind: in(one,two).
        (
            key,
            LabelSelectorOperator.LABEL_OPERATOR_IN,
            text.removeprefix("in(").removesuffix(")").split(","),
        )
        for key, text in bundle.labels.items()
    ]
    return ResourceRequestUtil.make(
        dict(bundle.resources), label_selectors=[selector] if selector else None
    )
