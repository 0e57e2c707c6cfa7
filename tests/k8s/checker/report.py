"""What the rules share: the operator's gates, the schemas, and where findings go."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.k8s.checker.schemas import Core

# The operator's feature gates and their defaults: ray-operator/pkg/features/features.go, v1.7.0.
GATES = {
    "RayClusterStatusConditions": True,
    "RayJobDeletionPolicy": True,
    "RayMultiHostIndexing": True,
    "RayServiceIncrementalUpgrade": True,
    "RayCronJob": False,
    "SidecarSubmitterRestart": False,
    "RayClusterNetworkPolicy": False,
    "GCSFaultToleranceEmbeddedStorage": False,
    "RayClusterMTLS": False,
    "RayClusterHistoryServer": False,
    "KubernetesWAS": False,
}


@dataclass(frozen=True)
class Report:
    """How the rules look at one document.

    Attributes:
        gates: The operator's feature gates.
        error: Called with the path and message of what would be refused.
        warning: The same of what is accepted, but is hardly meant.
        schemas: Strict schemas by the names of their files.
        core: Kubernetes' own.
    """

    gates: Mapping[str, bool]
    error: Callable[..., None]
    warning: Callable[..., None]
    schemas: Mapping[str, Any]
    core: Core
