"""`deploy/serve.yaml` and the graph that it configures say the same; no cluster."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError
from ray.serve._private.application_state import override_deployment_info
from ray.serve._private.build_app import build_app as flatten
from ray.serve._private.config import ReplicaConfig
from ray.serve._private.deployment_info import DeploymentInfo
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from kintsugi.deploy.app import build_app
from kintsugi.deploy.settings import AppArgs, RefinerState

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("KINTSUGI_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "serve.yaml").read_text())
    return loaded


def test_serve_accepts_the_file(config: dict[str, Any]) -> None:
    application = ServeDeploySchema.model_validate(config).applications[0]
    assert application.import_path == "kintsugi.deploy.app:build_app"
    assert config["http_options"]["host"] == "127.0.0.1"


def test_no_key_of_the_file_is_unknown(config: dict[str, Any]) -> None:
    schema = SHARED / "kuberay" / "serve_config.json"
    if not schema.is_file():
        pytest.skip(f"{schema} is not there: set KINTSUGI_SHARED")
    jsonschema.validate(config, json.loads(schema.read_text()))


def test_every_node_of_the_graph_has_its_own_autoscaling(config: dict[str, Any]) -> None:
    (application,) = config["applications"]
    graph = flatten(build_app(AppArgs.model_validate(application["args"])), name="kintsugi")
    assert graph.ingress_deployment_name == "Ingress"

    settings = {entry["name"]: entry for entry in application["deployments"]}

    assert set(settings) == {deployment.name for deployment in graph.deployments}
    for entry in settings.values():
        scaling = entry["autoscaling_config"]
        assert scaling["min_replicas"] >= 1
        # One Ingress counts all keys' shares; the Refiner only waits, and a second one would let in
        # more than two cores can do.
        most = 1 if entry["name"] in ("Ingress", "Refiner") else 2
        assert scaling["max_replicas"] == most
        assert scaling["target_ongoing_requests"] < entry["max_ongoing_requests"]


def test_the_application_answers_before_serve_cuts_it_off(config: dict[str, Any]) -> None:
    args = AppArgs.model_validate(config["applications"][0]["args"])
    assert args.deadline_seconds < config["http_options"]["request_timeout_s"]


def test_a_misspelt_setting_is_an_error() -> None:
    with pytest.raises(ValidationError, match="realease"):
        AppArgs.model_validate({"release": "x", "realease": "y"})


@pytest.mark.slow
def test_the_ingress_imports_no_torch() -> None:
    code = "import sys, kintsugi.deploy.graph.ingress; sys.exit('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "platform")}
    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == 0


@pytest.mark.parametrize(
    ("said", "passed_on"),
    [
        ({"user_config": {"release": "s3://releases/b"}}, {"release": "s3://releases/b"}),
        # Taken out of the configuration: back to the release of the args.
        ({}, {"release": ""}),
    ],
)
def test_without_a_release_in_place_serve_passes_on_that_there_is_none(
    config: dict[str, Any], said: dict[str, Any], passed_on: dict[str, Any]
) -> None:
    (application,) = config["applications"]
    graph = flatten(build_app(AppArgs.model_validate(application["args"])), name="kintsugi")
    deployed = {
        deployment.name: DeploymentInfo(
            deployment_config=deployment._deployment_config,
            # Without its arguments, which are handles.
            replica_config=ReplicaConfig.create(deployment.func_or_class),
            start_time_ms=0,
            deployer_job_id="",
        )
        for deployment in graph.deployments
    }
    deployments = [
        {**entry, **said} if entry["name"] == "Refiner" else entry
        for entry in application["deployments"]
    ]
    schema = ServeApplicationSchema.model_validate({**application, "deployments": deployments})
    found = override_deployment_info(deployed, schema)["Refiner"].deployment_config.user_config
    assert found == passed_on
    # Empty is not None, which would not reach a replica.
    assert RefinerState.model_validate(found).release == passed_on["release"]
