"""What NetworkPolicies let through, by the rules of Kubernetes; knows no network."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from tests.k8s.manifests import Manifest

OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


@dataclass(frozen=True)
class Peer:
    """One end of a connection.

    Attributes:
        labels: The labels of the pod; empty for what is no pod.
        namespace: The namespace of the pod; "" for what is none.
        address: The address of what is no pod. Pods have one that an ipBlock may hold on some
            networks and none on others: here they have none.
        entity: What Cilium takes that address for: "world", "host" or "kube-apiserver".
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = "kintsugi"
    address: str = ""
    entity: str = "world"


def allowed(
    policies: Iterable[Manifest], source: Peer, target: Peer, port: int, *, cilium: bool = False
) -> bool:
    """Whether both ends let a connection through.

    Args:
        policies: NetworkPolicies, and Cilium's own where it is the network.
        cilium: Whether it is: an ipBlock then holds nothing that the cluster itself is.
    """
    policies = list(policies)
    if cilium and _cilium_permits(policies, source, target, port):
        return True
    core = [policy for policy in policies if policy["kind"] == "NetworkPolicy"]
    out = _permits(core, source, target, port, direction="Egress", cilium=cilium)
    return out and _permits(core, target, source, port, direction="Ingress", cilium=cilium)


def _cilium_permits(policies: list[Manifest], pod: Peer, other: Peer, port: int) -> bool:
    """Whether a policy of Cilium's own lets ``pod`` reach an entity."""
    return any(
        other.entity in rule["toEntities"]
        and any(str(port) == entry["port"] for each in rule["toPorts"] for entry in each["ports"])
        for policy in policies
        if policy["kind"] == "CiliumNetworkPolicy"
        and pod.namespace == policy["metadata"]["namespace"]
        and _selects(policy["spec"]["endpointSelector"], pod.labels)
        for rule in policy["spec"]["egress"]
    )


def _permits(
    policies: list[Manifest], pod: Peer, other: Peer, port: int, *, direction: str, cilium: bool
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
        _port(rule, port) and _peers(rule.get(side), other, pod.namespace, cilium=cilium)
        for spec in selecting
        for rule in spec.get(direction.lower(), [])
    )


def _port(rule: Manifest, port: int) -> bool:
    return "ports" not in rule or any(entry["port"] == port for entry in rule["ports"])


def _peers(peers: list[Manifest] | None, other: Peer, namespace: str, *, cilium: bool) -> bool:
    if peers is None:
        return True
    return any(_peer(peer, other, namespace, cilium=cilium) for peer in peers)


def _peer(peer: Manifest, other: Peer, namespace: str, *, cilium: bool) -> bool:
    if "ipBlock" in peer:
        of_the_cluster = cilium and other.entity != "world"
        return bool(other.address) and not of_the_cluster and _holds(peer["ipBlock"], other.address)
    if other.address:
        return False
    selector = peer.get("namespaceSelector")
    there = (
        other.namespace == namespace
        if selector is None
        else _selects(selector, {"kubernetes.io/metadata.name": other.namespace})
    )
    return there and _selects(peer.get("podSelector", {}), other.labels)


def _holds(block: Manifest, address: str) -> bool:
    """Whether the address is in `cidr` and in none of `except`."""
    found = ip_address(address)
    inside = found in ip_network(block["cidr"])
    return inside and not any(found in ip_network(cut) for cut in block.get("except", []))


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
