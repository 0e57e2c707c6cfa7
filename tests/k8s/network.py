"""What NetworkPolicies let through, by the rules of Kubernetes; knows no network."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.k8s.manifests import Manifest

OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


@dataclass(frozen=True)
class Peer:
    """One end of a connection.

    Attributes:
        labels: Of the pod; empty for what is outside of the cluster.
        namespace: Of the pod; "" outside.
        internet: Whether it has an address that an ipBlock of 0.0.0.0/0 holds. Pods have
            one for some networks and none for others: here they have none.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = "kintsugi"
    internet: bool = False


def allowed(policies: Iterable[Manifest], source: Peer, target: Peer, port: int) -> bool:
    """Whether both ends let a connection through."""
    policies = list(policies)
    out = _permits(policies, source, target, port, direction="Egress")
    return out and _permits(policies, target, source, port, direction="Ingress")


def _permits(
    policies: list[Manifest], pod: Peer, other: Peer, port: int, *, direction: str
) -> bool:
    """Whether ``pod`` may have it; one that no policy selects may have everything."""
    selecting = [
        policy["spec"]
        for policy in policies
        if pod.namespace == policy["metadata"]["namespace"]
        and direction in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], pod.labels)
    ]
    if not selecting:
        return True
    side = "to" if direction == "Egress" else "from"
    return any(
        _port(rule, port) and _peers(rule.get(side), other)
        for spec in selecting
        for rule in spec.get(direction.lower(), [])
    )


def _port(rule: Manifest, port: int) -> bool:
    return "ports" not in rule or any(entry["port"] == port for entry in rule["ports"])


def _peers(peers: list[Manifest] | None, other: Peer) -> bool:
    if peers is None:
        return True
    return any(_peer(peer, other) for peer in peers)


def _peer(peer: Manifest, other: Peer) -> bool:
    if "ipBlock" in peer:
        return other.internet
    namespace = peer.get("namespaceSelector")
    there = (
        other.namespace == "kintsugi"
        if namespace is None
        else _selects(namespace, {"kubernetes.io/metadata.name": other.namespace})
    )
    return there and not other.internet and _selects(peer.get("podSelector", {}), other.labels)


def _selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    exact: bool = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(_expression(e, labels) for e in selector.get("matchExpressions", []))


def _expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator = expression["key"], expression["operator"]
    assert operator in OPERATORS, operator
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    values: list[str] = expression["values"]
    inside = labels.get(key) in values
    return inside if operator == "In" else not inside
