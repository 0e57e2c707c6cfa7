"""Rules of Ray's runtime environments."""

import difflib
from typing import Any

import yaml

from tests.k8s.checker.report import Report
from tests.k8s.checker.values import Document, Path, dig
from tests.k8s.checker.yaml_reader import Loader

RUNTIME_ENV = {
    "working_dir",
    "py_modules",
    "py_executable",
    "worker_process_setup_hook",
    "java_jars",
    "excludes",
    "pip",
    "uv",
    "conda",
    "container",
    "image_uri",
    "env_vars",
    "config",
    "nsight",
    "rocprof-sys",
    "_nsight",
    "mpi",
    "eager_install",
}


def check_runtime_env(found: Report, text: Any, path: Path) -> None:
    if not isinstance(text, str) or not text.strip():
        return
    try:
        env = yaml.load(text, Loader)
    except yaml.YAMLError as e:
        return found.error(path, "not YAML: {}".format(str(e).replace("\n", " ")[:120]))
    if not isinstance(env, dict):
        return found.error(path, "not a mapping")
    check_runtime_env_keys(found, env, path)


def check_runtime_env_keys(found: Report, env: Document, path: Path) -> None:
    for k in sorted(set(env) - RUNTIME_ENV, key=str):
        near = difflib.get_close_matches(str(k), sorted(RUNTIME_ENV), 1)
        found.error(
            (*path, k),
            "unknown runtime_env field" + (f", did you mean {near[0]!r}?" if near else ""),
        )
    for k, v in dig(env, "env_vars").items() if isinstance(dig(env, "env_vars"), dict) else ():
        if not isinstance(v, str):
            found.error((*path, "env_vars", k), f"must be a string, quote it: {v!r}")
