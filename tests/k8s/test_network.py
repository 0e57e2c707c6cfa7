"""Who reaches whom under the rendered NetworkPolicies."""

import copy
from collections.abc import Iterable, Iterator

import pytest

from tests.k8s.chart import joined, values
from tests.k8s.manifests import ENVIRONMENTS, Manifest, environment, of_kind, render
from tests.k8s.network import Peer, allowed

Connection = tuple[Peer, Peer, int]


def ours(component: str, node: str = "", instance: str = "kintsugi") -> Peer:
    labels = {
        "app.kubernetes.io/part-of": "kintsugi",
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/component": component,
    }
    return Peer(labels | ({"ray.io/node-type": node} if node else {}))


HEAD, WORKER = ours("serving", "head"), ours("serving", "worker")
JOB_HEAD, JOB_WORKER, SUBMITTER = (ours("training", n) for n in ("head", "worker", ""))
EDGE = ours("edge")
STORE, REDIS = ours("object-store"), ours("redis")
DNS = Peer({"k8s-app": "kube-dns"}, "kube-system")
OPERATOR = Peer({"app.kubernetes.io/name": "kuberay-operator"}, "kuberay-system")
PROMETHEUS = Peer({"app": "prometheus"}, "monitoring")
UPGRADE = Peer({"gateway.networking.k8s.io/gateway-name": "kintsugi-gateway"})
FRONT = Peer({"gateway.networking.k8s.io/gateway-name": "kintsugi-edge"})
GATEWAYS = UPGRADE, FRONT
STRANGER = Peer({"app": "something"}, "default")
NEIGHBOUR = Peer({"app": "something"}, "kintsugi")
OTHER_INSTANCE = ours("serving", "worker", "other")
# 203.0.113.0/24 is for documents: any address of the internet.
INTERNET = Peer(namespace="", address="203.0.113.7")

# (from, to, port) that must work everywhere.
NEEDED: tuple[Connection, ...] = (
    (EDGE, WORKER, 8000),
    (INTERNET, EDGE, 8080),
    (HEAD, WORKER, 10002),
    (WORKER, HEAD, 6379),
    (WORKER, WORKER, 31999),
    (SUBMITTER, JOB_HEAD, 8265),
    (JOB_WORKER, JOB_WORKER, 29500),
    (OPERATOR, HEAD, 8265),
    (OPERATOR, JOB_HEAD, 8265),
    (HEAD, INTERNET, 6443),
    (WORKER, INTERNET, 443),
    (JOB_HEAD, INTERNET, 443),
    (PROMETHEUS, WORKER, 8080),
    (PROMETHEUS, HEAD, 44217),
    (PROMETHEUS, JOB_HEAD, 8090),
    *((pod, DNS, 53) for pod in (EDGE, HEAD, WORKER, JOB_HEAD, SUBMITTER)),
)
# That nobody may have: the dashboard and the cluster's own ports above all.
REFUSED: tuple[Connection, ...] = (
    *((peer, HEAD, 8265) for peer in (STRANGER, NEIGHBOUR, EDGE, PROMETHEUS, JOB_WORKER)),
    *((peer, HEAD, 6379) for peer in (STRANGER, NEIGHBOUR, EDGE, OPERATOR, JOB_WORKER)),
    (Peer({"app": "something"}, "kuberay-system"), HEAD, 8265),
    (INTERNET, HEAD, 8265),
    (INTERNET, WORKER, 8000),
    (STRANGER, WORKER, 8000),
    (NEIGHBOUR, WORKER, 8000),
    (OTHER_INSTANCE, HEAD, 6379),
    (OTHER_INSTANCE, WORKER, 10002),
    (WORKER, JOB_HEAD, 8265),
    (STRANGER, JOB_HEAD, 8265),
    (STRANGER, WORKER, 8080),
    (EDGE, INTERNET, 443),
    (EDGE, HEAD, 8000),
    (WORKER, INTERNET, 80),
    (NEIGHBOUR, INTERNET, 443),
)

# What differs between clusters: name -> connections; all of them must be open, or none.
NODE = "10.0.3.7"
FLOWS: dict[str, tuple[Connection, ...]] = {
    "DNS by kube-dns": tuple((pod, DNS, 53) for pod in (EDGE, HEAD, WORKER, SUBMITTER, *GATEWAYS)),
    "DNS by the node's cache": tuple(
        (pod, Peer(namespace="", address="169.254.20.10", entity="host"), 53)
        for pod in (EDGE, HEAD, WORKER, JOB_WORKER, *GATEWAYS)
    ),
    "DNS by pods of the cache": tuple(
        (pod, Peer({"k8s-app": "node-local-dns"}, "kube-system"), 53) for pod in (WORKER, *GATEWAYS)
    ),
    "DNS by the node": tuple(
        (pod, Peer(namespace="", address=NODE, entity="host"), 53)
        for pod in (EDGE, WORKER, *GATEWAYS)
    ),
    "DNS by AKS LocalDNS": tuple(
        (pod, Peer(namespace="", address="169.254.10.11"), 53) for pod in (EDGE, *GATEWAYS)
    ),
    "Pod Identity": tuple(
        (pod, Peer(namespace="", address="169.254.170.23"), 80) for pod in (WORKER, JOB_HEAD)
    ),
    "metadata 169.254.169.254": ((WORKER, Peer(namespace="", address="169.254.169.254"), 80),),
    "metadata 169.254.169.252": ((WORKER, Peer(namespace="", address="169.254.169.252"), 988),),
    "public buckets": tuple((pod, INTERNET, 443) for pod in (WORKER, JOB_HEAD, JOB_WORKER)),
    "private buckets, 9000": tuple(
        (pod, Peer(namespace="", address="10.20.0.5"), 9000) for pod in (WORKER, JOB_WORKER)
    ),
    "API server, public": ((HEAD, Peer(namespace="", address="198.51.100.4"), 443),),
    "API server, own network": (
        (HEAD, Peer(namespace="", address="10.0.0.1", entity="kube-apiserver"), 6443),
        (JOB_HEAD, Peer(namespace="", address="10.0.0.1", entity="kube-apiserver"), 6443),
    ),
    "API server, from workers": (
        (WORKER, Peer(namespace="", address="10.0.0.1", entity="kube-apiserver"), 6443),
    ),
    "private networks, from workers": tuple(
        (pod, Peer(namespace="", address=address, entity=entity), 443)
        for pod in (WORKER, JOB_WORKER)
        for address, entity in (
            ("10.0.0.1", "kube-apiserver"),
            ("10.20.0.5", "world"),
            ("172.20.0.1", "world"),
            ("192.168.1.1", "world"),
        )
    ),
    "metadata, from the edge": (
        (EDGE, Peer(namespace="", address="169.254.169.254"), 80),
        (EDGE, Peer(namespace="", address="169.254.170.23"), 80),
    ),
    "a node's kubelet": ((WORKER, Peer(namespace="", address=NODE, entity="host"), 10250),),
}
ALWAYS = {"DNS by kube-dns", "public buckets", "API server, public"}
# Cilium has the API server and nodes as entities: without its profile those are cut off.
ON_CILIUM = ALWAYS
ELSEWHERE = {*ALWAYS, "API server, own network"}
CACHE = {"DNS by the node's cache", "DNS by pods of the cache"}
# Profiles -> whether Cilium is the network, and the flows that are open; no other may be.
OPEN: dict[tuple[str, ...], tuple[bool, set[str]]] = {
    (): (False, ELSEWHERE),
    ("nodelocal-dns",): (False, ELSEWHERE | CACHE),
    ("eks-irsa",): (False, ELSEWHERE),
    ("eks-pod-identity",): (False, ELSEWHERE | {"Pod Identity"}),
    ("eks-auto",): (False, ELSEWHERE | {"Pod Identity", "DNS by the node"}),
    ("gke",): (
        False,
        ELSEWHERE | {"metadata 169.254.169.254", "metadata 169.254.169.252"},
    ),
    ("aks",): (False, ELSEWHERE | {"metadata 169.254.169.254", "DNS by AKS LocalDNS"}),
    ("on-prem",): (False, ELSEWHERE | {"private buckets, 9000", "private networks, from workers"}),
    ("cilium",): (
        True,
        ON_CILIUM | {"API server, own network", "DNS by the node's cache", "DNS by the node"},
    ),
    ("eks-pod-identity", "nodelocal-dns"): (False, ELSEWHERE | CACHE | {"Pod Identity"}),
}


def policies_of(documents: Iterable[Manifest]) -> list[Manifest]:
    return of_kind(tuple(documents), "NetworkPolicy", "CiliumNetworkPolicy")


def with_profiles(*profiles: str) -> list[Manifest]:
    return policies_of(render(joined(values("production"), {"profiles": list(profiles)})))


def name_of(peer: Peer) -> str:
    return "/".join([peer.namespace, *peer.labels.values(), peer.address])


def check(policies: list[Manifest], connections: Iterable[Connection], *, expected: bool) -> None:
    for source, target, port in connections:
        found = allowed(policies, source, target, port)
        assert found is expected, f"{name_of(source)} -> {name_of(target)}:{port}"


def table(policies: list[Manifest], *, cilium: bool) -> set[str]:
    """The flows that are open. A flow that is open in part is a fault of its own."""
    found = set()
    for flow, connections in FLOWS.items():
        states = {allowed(policies, *each, cilium=cilium) for each in connections}
        assert len(states) == 1, flow
        if states == {True}:
            found.add(flow)
    return found


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_what_is_needed_goes_through(name: str) -> None:
    check(policies_of(environment(name)), NEEDED, expected=True)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_nothing_else_does(name: str) -> None:
    check(policies_of(environment(name)), REFUSED, expected=False)


@pytest.mark.parametrize("profiles", OPEN, ids="+".join)
def test_each_profile_opens_what_its_cluster_needs(profiles: tuple[str, ...]) -> None:
    cilium, expected = OPEN[profiles]
    assert table(with_profiles(*profiles), cilium=cilium) == expected


def test_without_its_profile_cilium_cuts_the_api_server_off() -> None:
    assert table(with_profiles(), cilium=True) == ON_CILIUM


def mutated(policies: list[Manifest]) -> Iterator[tuple[str, list[Manifest]]]:
    """Each address of each policy replaced by another, or cut out of nothing."""
    for index, policy in enumerate(policies):
        for rule_index, rule in enumerate(policy["spec"].get("egress", [])):
            for peer_index, peer in enumerate(rule.get("to", [])):
                if "ipBlock" not in peer:
                    continue
                changes = [("cidr", "192.0.2.0/24")]
                if "except" in peer["ipBlock"]:
                    changes += [("except", []), ("except", ["0.0.0.0/0"])]
                for key, value in changes:
                    other = copy.deepcopy(policies)
                    there = other[index]["spec"]["egress"][rule_index]["to"][peer_index]
                    there["ipBlock"][key] = value
                    yield f"{policy['metadata']['name']}: {key}={value}", other


@pytest.mark.parametrize("profiles", [("eks-pod-identity", "nodelocal-dns"), ("gke",), ("aks",)])
def test_a_wrong_address_is_found(profiles: tuple[str, ...]) -> None:
    _, expected = OPEN[profiles]
    changes = 0
    for change, policies in mutated(with_profiles(*profiles)):
        changes += 1
        states = [
            tuple(allowed(policies, *each) for each in connections)
            for connections in FLOWS.values()
        ]
        right = [
            tuple(flow in expected for _ in connections) for flow, connections in FLOWS.items()
        ]
        opened_metadata = any(
            allowed(policies, pod, Peer(namespace="", address="169.254.1.1"), port)
            for pod, port in ((WORKER, 443), (HEAD, 443))
        )
        assert states != right or opened_metadata, change
    assert changes >= 7


def test_link_local_addresses_are_closed_but_for_those_of_a_profile() -> None:
    metadata = Peer(namespace="", address="169.254.169.254")
    for name in ENVIRONMENTS:
        policies = policies_of(environment(name))
        check(policies, ((pod, metadata, 443) for pod in (HEAD, WORKER, JOB_HEAD)), expected=False)
        check(policies, [(WORKER, metadata, 80)], expected=False)


def test_everywhere_is_no_private_network_by_ipv6_either() -> None:
    cidrs = {"cidrs": ["::/0", "10.1.2.0/24"], "ports": [443]}
    said = joined(values("production"), {"network": {"objectStorage": cidrs, "kubernetes": cidrs}})
    policies = policies_of(render(said))

    def at(address: str) -> Peer:
        return Peer(namespace="", address=address)

    check(policies, [(WORKER, at("2001:db8::1"), 443), (HEAD, at("fd12::1"), 443)], expected=True)
    # What is named is reached.
    check(policies, [(WORKER, at("10.1.2.3"), 443)], expected=True)
    closed = [(WORKER, "fd12::1"), (WORKER, "10.1.3.3"), (HEAD, "fe80::1"), (HEAD, "fd00:ec2::23")]
    check(policies, [(pod, at(address), 443) for pod, address in closed], expected=False)


def test_traces_reach_their_collector_and_nothing_else_does() -> None:
    collector = Peer({"app": "otel"}, "monitoring")
    outside = Peer(namespace="", address="10.9.8.7")
    said = values("production")
    check(with_profiles(), [(WORKER, collector, 4318), (WORKER, outside, 4318)], expected=False)
    inside = joined(said, {"serving": {"tracing": {"endpoint": "http://otel.monitoring:4318"}}})
    check(policies_of(render(inside)), [(WORKER, collector, 4318)], expected=True)
    check(policies_of(render(inside)), [(EDGE, collector, 4318)], expected=False)
    outside_too = {
        "serving": {"tracing": {"endpoint": "http://10.9.8.7:4318", "cidrs": ["10.9.8.0/24"]}}
    }
    check(policies_of(render(joined(said, outside_too))), [(WORKER, outside, 4318)], expected=True)
    check(
        policies_of(render(joined(said, outside_too))), [(WORKER, collector, 4318)], expected=False
    )


def test_each_store_answers_those_that_need_it() -> None:
    inside = joined(
        values("local"), {"storage": {"secret": "buckets", "inside": {"enabled": True}}}
    )
    policies = policies_of(render(inside))
    check(policies, [(pod, STORE, 9000) for pod in (WORKER, JOB_HEAD, JOB_WORKER)], expected=True)
    check(policies, [(pod, STORE, 9000) for pod in (EDGE, STRANGER, NEIGHBOUR)], expected=False)
    production = policies_of(environment("production"))
    check(production, [(HEAD, REDIS, 6379)], expected=True)
    refused = [(pod, REDIS, 6379) for pod in (EDGE, JOB_HEAD, STRANGER, NEIGHBOUR)]
    check(production, refused, expected=False)


def test_the_gateways_reach_what_is_behind_them() -> None:
    """The one of an upgrade is the edge's alone: its class may give it a public address, and
    behind it Serve asks for no token."""
    policies = policies_of(environment("production"))
    needed = [
        (INTERNET, FRONT, 443),
        (FRONT, EDGE, 8080),
        (EDGE, UPGRADE, 80),
        (UPGRADE, WORKER, 8000),
    ]
    control = Peer({"app": "istiod"}, "istio-system")
    needed += [(FRONT, control, 15012), (UPGRADE, control, 15012)]
    needed += [(gateway, DNS, 53) for gateway in GATEWAYS]
    check(policies, needed, expected=True)
    refused = [(peer, UPGRADE, 80) for peer in (INTERNET, STRANGER, NEIGHBOUR, FRONT)]
    check(policies, refused, expected=False)
