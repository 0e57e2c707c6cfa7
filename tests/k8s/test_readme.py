"""k8s/README.md against the chart: values, Secrets, commands, costs."""

import itertools
import math
import re
import shlex

import pytest
import yaml

from tests.k8s.chart import CHART, PROFILES, joined, render_texts, values
from tests.k8s.manifests import K8S, ROOT, Manifest, cluster_of, named, of_kind, render, service
from tests.k8s.strict_checker import SECRETS
from tests.k8s.test_pods import quantity
from tests.k8s.test_serve_config import deployments

README = (K8S / "README.md").read_text()
COMMANDS = dict(
    zip(("local", "production"), re.findall(r"```sh\n(.*?)```", README, re.DOTALL), strict=True)
)


def test_names_every_secret_and_its_keys() -> None:
    for name, keys in SECRETS.items():
        for word in (name, *keys):
            assert f"`{word}`" in README, word


def test_names_every_value_that_is_an_example() -> None:
    """Nobody can use these as they are: the reader must know where to change them."""
    text = "\n".join(render_texts(joined(values("production"), {"pipeline": {"enabled": True}})))
    examples = set(re.findall(r"[\w.-]*example\.com(?:/[\w-]+)?|example-[\w-]+(?:/jobs)?", text))
    assert len(examples) > 6
    for example in examples:
        tail = example.removeprefix("example-kintsugi")
        assert f"`{example}`" in README or f"`{tail}`" in README, example


def test_what_is_yours_stands_first_in_the_values() -> None:
    text = (K8S / "values" / "production.yaml").read_text()
    yours, _, rest = text.partition("\n\n")
    assert "example" in yours
    assert "example" not in rest


def test_names_every_profile() -> None:
    for profile in PROFILES:
        assert profile in README, profile


@pytest.mark.parametrize("environment", COMMANDS)
def test_it_takes_few_commands(environment: str) -> None:
    lines = COMMANDS[environment].splitlines()
    assert 3 < len([line for line in lines if line and not line.startswith("#")]) <= 7


@pytest.mark.parametrize("environment", COMMANDS)
def test_commands_name_what_exists(environment: str) -> None:
    commands = COMMANDS[environment]
    for path in re.findall(r"(?:-f|install kintsugi|upgrade kintsugi) ([\w.-]+/\S+)", commands):
        assert (ROOT / path).exists(), path
    documents = render(joined(values(environment), {"pipeline": {"enabled": True}}))
    names = {f"{d['kind'].lower()}/{d['metadata']['name']}" for d in documents}
    for kind, name in re.findall(r"\b(rayjob|rayservice|svc)[/ ]([\w-]+)", commands):
        assert f"{kind.replace('svc', 'service')}/{name}" in names, name


@pytest.mark.parametrize("environment", COMMANDS)
def test_what_the_commands_set_is_taken_by_the_chart(environment: str) -> None:
    for command in COMMANDS[environment].splitlines():
        said: Manifest = {}
        words = shlex.split(command.replace("$(", "").replace("&&", " ; "), comments=True)
        # The operator's chart has values of its own.
        if "k8s/chart" not in words:
            continue
        for flag, setting in itertools.pairwise(words):
            if flag == "--set":
                path, _, text = setting.partition("=")
                # Nothing after the sign is no null: it empties a value.
                value: Manifest | str = yaml.safe_load(text) if text else ""
                for key in reversed(path.split(".")):
                    value = {key: value}
                said = joined(said, value)  # type: ignore[arg-type]
        # An unknown value is refused.
        render(joined(values(environment), said))


def test_a_release_of_an_earlier_roll_in_place_does_not_win_over_a_new_one() -> None:
    """Helm keeps its value from upgrade to upgrade, and the Refiner answers with it."""
    for commands in COMMANDS.values():
        setting = [line for line in commands.splitlines() if "serving.release=" in line]
        assert setting
        for line in setting:
            assert line.endswith("--set serving.releaseInPlace="), line


def cost(cluster: Manifest, bound: str) -> tuple[float, float, float]:
    """CPUs, GiB and GPUs that a cluster requests, with its groups at their least or most."""
    pods = [(1, cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"])]
    pods += [(1, cluster["autoscalerOptions"]["resources"])]
    for group in cluster["workerGroupSpecs"]:
        resources = group["template"]["spec"]["containers"][0]["resources"]
        pods.append((group[f"{bound}Replicas"], resources))
    totals = [
        sum(count * quantity(each["requests"].get(name, 0)) for count, each in pods)
        for name in ("cpu", "memory", "nvidia.com/gpu")
    ]
    return totals[0], totals[1] / 2**30, totals[2]


def row(what: str, figures: tuple[float, float, float]) -> str:
    cpus, memory, gpus = figures
    return f"| {what} | {cpus:g} | {memory:g} GiB | {gpus:g} |"


def test_the_costs_are_those_of_the_manifests() -> None:
    cluster = cluster_of(named(service("production"), "RayService", "kintsugi"))
    least, most = cost(cluster, "min"), cost(cluster, "max")
    assert row("the service when nothing is asked of it", least) in README
    assert row("with every group at its most", most) in README
    # A cluster begins with the least of every group, whatever share of the replicas it gets.
    assert row("a second cluster, when an upgrade starts it", least) in README


def test_a_roll_at_the_most_replicas_needs_no_pod_that_is_not_there() -> None:
    """Nodes with a GPU start nothing in addition; the others fit into what their group has."""
    cluster = cluster_of(named(service("production"), "RayService", "kintsugi"))
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    for node in deployments("production"):
        most = node["autoscaling_config"]["max_replicas"]
        surge = math.ceil(most * node["max_surge_percent"] / 100)
        if "num_gpus" in node["ray_actor_options"]:
            assert surge == 0, node["name"]
        else:
            assert most + surge <= groups["front"]["maxReplicas"] * node["max_replicas_per_node"]
    assert row("a new release at the most replicas, in addition", (0, 0, 0)) in README


def test_every_alert_that_it_names_exists() -> None:
    rules = (ROOT / "deploy" / "observability" / "prometheusrule.yaml").read_text()
    for name in set(re.findall(r"`(Kintsugi\w+)`", README)):
        assert f"alert: {name}\n" in rules, name


def test_argo_cd_has_the_chart_and_the_operator_of_the_readme() -> None:
    operator, ours = yaml.safe_load_all((K8S / "argocd" / "applications.yaml").read_text())
    source = operator["spec"]["sources"][0]
    assert f"--version {source['targetRevision']} --repo {source['repoURL']}" in README
    path = ROOT / ours["spec"]["source"]["path"]
    assert path == CHART
    helm = ours["spec"]["source"]["helm"]
    (file,) = helm["valueFiles"]
    said = joined(yaml.safe_load((path / file).read_text()), helm["valuesObject"])
    documents = render(said, helm["releaseName"], ours["spec"]["destination"]["namespace"])
    assert len(of_kind(documents, "RayService", "RayJob")) == 2
    assert of_kind(documents, "Namespace") == []
