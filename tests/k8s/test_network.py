"""Who reaches whom under the rendered NetworkPolicies."""

import pytest

from tests.k8s.manifests import ENVIRONMENTS, environment, of_kind
from tests.k8s.network import Peer, allowed


def ours(component: str, node: str = "") -> Peer:
    labels = {"app.kubernetes.io/part-of": "kintsugi", "app.kubernetes.io/component": component}
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
STRANGER = Peer({"app": "something"}, "default")
NEIGHBOUR = Peer({"app": "something"}, "kintsugi")
INTERNET = Peer({}, "", internet=True)

# (from, to, port) that must work everywhere.
NEEDED = (
    (EDGE, WORKER, 8000),
    (INTERNET, EDGE, 8080),
    (FRONT, EDGE, 8080),
    (INTERNET, FRONT, 443),
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
REFUSED = (
    *((peer, HEAD, 8265) for peer in (STRANGER, NEIGHBOUR, EDGE, PROMETHEUS, JOB_WORKER)),
    *((peer, HEAD, 6379) for peer in (STRANGER, NEIGHBOUR, EDGE, OPERATOR, JOB_WORKER)),
    (Peer({"app": "something"}, "kuberay-system"), HEAD, 8265),
    (INTERNET, HEAD, 8265),
    (INTERNET, WORKER, 8000),
    (STRANGER, WORKER, 8000),
    (NEIGHBOUR, WORKER, 8000),
    (WORKER, JOB_HEAD, 8265),
    (STRANGER, JOB_HEAD, 8265),
    (STRANGER, WORKER, 8080),
    (EDGE, INTERNET, 443),
    (EDGE, HEAD, 8000),
    (WORKER, INTERNET, 80),
    (NEIGHBOUR, INTERNET, 443),
)


def name_of(peer: Peer) -> str:
    return "/".join([peer.namespace, *peer.labels.values()])


def check(environment_name: str, connections: object, *, expected: bool) -> None:
    policies = of_kind(environment(environment_name), "NetworkPolicy")
    for source, target, port in connections:  # type: ignore[attr-defined]
        found = allowed(policies, source, target, port)
        assert found is expected, f"{name_of(source)} -> {name_of(target)}:{port}"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_what_is_needed_goes_through(name: str) -> None:
    check(name, NEEDED, expected=True)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_nothing_else_does(name: str) -> None:
    check(name, REFUSED, expected=False)


def test_each_store_answers_those_that_need_it() -> None:
    inside = [(pod, STORE, 9000) for pod in (WORKER, JOB_HEAD, JOB_WORKER)]
    check("local", inside, expected=True)
    others = [(pod, STORE, 9000) for pod in (EDGE, STRANGER, NEIGHBOUR)]
    check("local", others, expected=False)
    check("production", [(HEAD, REDIS, 6379)], expected=True)
    refused = [(pod, REDIS, 6379) for pod in (EDGE, JOB_HEAD, STRANGER, NEIGHBOUR)]
    check("production", refused, expected=False)


def test_the_gateway_of_an_upgrade_is_the_edges_alone() -> None:
    """Its class may give it a public address, and behind it Serve asks for no token."""
    check("production", [(EDGE, UPGRADE, 80), (UPGRADE, WORKER, 8000)], expected=True)
    refused = [(peer, UPGRADE, 80) for peer in (INTERNET, STRANGER, NEIGHBOUR, FRONT)]
    check("production", refused, expected=False)
