"""Hooks of mkdocs: the generated reference, and links that leave the site; needs no network.

Each page of the reference is made from the code when the site is built, so that it cannot say
something else. Files of the repository that are no part of the site are named, not linked.
"""

import ast
import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")
# What users of Python call: module, then its names.
PYTHON = {
    "platform/kintsugi/facade.py": ("Inpainter",),
    "deploy/client/__init__.py": ("Client",),
    "deploy/client/jobs.py": ("Jobs", "Job"),
    "models/weights.py": ("load_release", "read_release_config"),
    "models/inpainter.py": ("Inpainter",),
    "models/pixels.py": ("image_to_tensor", "mask_to_tensor", "tensor_to_image"),
    "models/paper.py": ("inpaint", "inpaint_one_scale"),
}


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=page()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace links to files outside docs/ by the files' names."""
    folder = (DOCS / page.file.src_uri).parent

    def replaced(link: re.Match[str]) -> str:
        text, target = link[1], link[2]
        if "://" in target:
            return link[0]
        path = (folder / target).resolve()
        if path.is_relative_to(DOCS):
            return link[0]
        name = str(path.relative_to(ROOT))
        return f"`{name}`" if text.strip("`") == name else f"{text} (`{name}`)"

    return LINK.sub(replaced, markdown)


def configuration() -> str:
    """Every key of a run's configuration with its type, default and meaning."""
    with _code_on_path():
        from kintsugi.config.run_config import JobConfig
    sections = {
        field.name: field.type
        for field in dataclasses.fields(JobConfig)
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type)
    }
    parts = [
        "# Configuration of a run",
        "`--set section.key=value` changes one key, `--print-config` prints all of them. A file"
        ' with `base = "FILE"` says only what differs from that file next to it.',
        "## Top level",
        _key_table(JobConfig, leaving_out=sections),
    ]
    for name, kind in sections.items():
        parts += [f"## [{name}]", _key_table(kind)]
    return "\n\n".join(parts)


def commands() -> str:
    """`--help` of every command."""
    with _code_on_path():
        from kintsugi.cli.program import COMMANDS, GROUPS
    parts = [
        "# Commands",
        "Each also runs on a cluster whose nodes have Kintsugi: `ray job submit -- kintsugi NAME`."
        " `kintsugi --install-completion` completes names and options in your shell.",
    ]
    named = [[name] for name in COMMANDS]
    named += [[group, name] for group, (_, commands) in GROUPS.items() for name in commands]
    for words in named:
        text = _help(["-m", "kintsugi", *words])
        parts += [f"## kintsugi {' '.join(words)}", f"```text\n{text}\n```"]
    client = _help(["-m", "kintsugi.deploy.client"])
    parts += ["## python -m kintsugi.deploy.client", f"```text\n{client}\n```"]
    return "\n\n".join(parts)


def http() -> str:
    """Routes, fields and answers, of the OpenAPI document."""
    parts = ["# HTTP", "The service itself has this at `/docs` and `/openapi.json`, with examples."]
    document = _openapi()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += [f"## {method.upper()} {path}", operation.get("summary", "")]
            parts += [operation.get("description", "").strip()]
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                rows = _schema_rows(_resolved(content.get("schema", {}), document), document)
                if rows:
                    parts += [f"Fields ({kind}):", _table(("field", "type", "means"), rows)]
            answers = [
                (status, answer.get("description", ""))
                for status, answer in operation["responses"].items()
            ]
            parts += ["Answers:", _table(("status", "is"), answers)]
    return "\n\n".join(part for part in parts if part)


def settings() -> str:
    """The `args` of deploy/serve.yaml."""
    with _code_on_path():
        from kintsugi.deploy.settings import AppArgs
    rows = [
        (f"`{name}`", _shown(None if field.is_required() else field.default), field.description)
        for name, field in AppArgs.model_fields.items()
    ]
    text = "The `args` of `deploy/serve.yaml` and `k8s/chart/values.yaml`."
    return "\n\n".join(
        ["# Settings of the service", text, _table(("name", "default", "means"), rows)]
    )


def metrics() -> str:
    """What Prometheus can ask for."""
    with _code_on_path():
        from kintsugi.deploy.observability.metrics import OF_HTTP, OF_NODES
    declared = {metric.name: metric for metric in (*OF_HTTP, *OF_NODES)}
    served = [
        (f"`{name}`", metric.kind, ", ".join(metric.labels), metric.means)
        for name, metric in sorted(declared.items())
    ]
    exporters = ast.parse((ROOT / "platform/kintsugi/monitor/exporters.py").read_text())
    trained = []
    for node in exporters.body:
        if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(node.value, ast.Dict):
            values = ast.literal_eval(node.value).values()
            trained += [(f"`kintsugi_train_{name}`", text) for name, text in values]
    return "\n\n".join(
        [
            "# Metrics",
            "## Of the service",
            "Ray exports them with `ray_` in front of the name. One process (`kintsugi serve`)"
            " shows those of requests, stages and jobs at `/metrics`, with no prefix.",
            "`route` is as documented, `status` 2xx, 4xx or 5xx, `release` name and digest,"
            " `megapixels` the class of the photograph's size; empty where there is none.",
            _table(("name", "kind", "labels", "is"), served),
            "## Of a training",
            "With `--metrics-port`; the label `run` is the run's name, `name` the loss or network.",
            _table(("name", "is"), trained),
        ]
    )


def python() -> str:
    """Signatures and docstrings, read without importing anything."""
    parts = ["# Python"]
    for module, names in PYTHON.items():
        imported = module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        imported = "kintsugi" if "facade" in imported else f"kintsugi.{imported}"
        parts += [f"## {imported}"]
        for node in ast.parse((ROOT / module).read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in names:
                parts += list(_described(node, 3))
    return "\n\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "configuration": configuration,
    "commands": commands,
    "http": http,
    "settings": settings,
    "metrics": metrics,
    "python": python,
}


@contextmanager
def _code_on_path() -> Iterator[None]:
    """The repository's packages can be imported inside."""
    before = list(sys.path)
    sys.path.insert(0, str(ROOT / "platform"))
    try:
        yield
    finally:
        sys.path[:] = before


def _key_table(kind: type, leaving_out: Collection[str] = ()) -> str:
    from kintsugi.config.descriptions import describe_fields

    meanings = describe_fields(kind)
    rows = []
    for field in dataclasses.fields(kind):
        if field.name in leaving_out:
            continue
        annotation = get_type_hints(kind)[field.name]
        shown = annotation.__name__ if isinstance(annotation, type) else str(annotation)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        needed = default is dataclasses.MISSING
        rows.append(
            (
                f"`{field.name}`",
                f"`{shown.replace('typing.', '')}`",
                "needed" if needed else f"`{default!r}`",
                meanings[field.name],
            )
        )
    return _table(("key", "type", "default", "means"), rows)


def _help(command: list[str]) -> str:
    run = subprocess.run(
        [sys.executable, *command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1",
             "PYTHONPATH": str(ROOT / "platform")},
    )  # fmt: skip
    # Paths of this machine are nobody else's.
    return run.stdout.rstrip().replace(f"{ROOT}/", "").replace(str(Path.home()), "~")


def _openapi() -> dict[str, Any]:
    with _code_on_path():
        from kintsugi.deploy.api import build_api
        from kintsugi.deploy.settings import AppArgs

        engine: Any = None
        document: dict[str, Any] = build_api(engine, AppArgs(release="unused")).openapi()
    return document


def _resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def _schema_rows(schema: dict[str, Any], document: dict[str, Any]) -> list[tuple[str, str, str]]:
    required = schema.get("required", [])
    rows = []
    for name, value in schema.get("properties", {}).items():
        value = _resolved(value, document)
        kinds = value.get("anyOf") or value.get("oneOf") or [value]
        kind = " or ".join(str(one.get("type", one.get("const", ""))) for one in kinds)
        needed = "; needed" if name in required else ""
        rows.append((f"`{name}`", kind + needed, value.get("description", "")))
    return rows


def _described(node: ast.ClassDef | ast.FunctionDef, level: int) -> Iterator[str]:
    yield f"{'#' * level} {node.name}"
    if isinstance(node, ast.FunctionDef):
        arguments, answer = ast.unparse(node.args), node.returns
        returns = f" -> {ast.unparse(answer)}" if answer is not None else ""
        yield f"```python\n{node.name}({arguments}){returns}\n```"
    if text := ast.get_docstring(node):
        yield f"```text\n{text}\n```"
    if isinstance(node, ast.ClassDef):
        for child in node.body:
            public = isinstance(child, ast.FunctionDef) and not child.name.startswith("_")
            if public or getattr(child, "name", "") == "__init__":
                yield from _described(child, level + 1)


def _shown(value: object) -> str:
    return "needed" if value is None else f"`{value!r}`"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    def row(cells: tuple[Any, ...]) -> str:
        texts = (str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
        # In code markdown escapes by itself.
        shown = (text if text.startswith("`") else text.replace("<", "&lt;") for text in texts)
        return "| " + " | ".join(shown) + " |"

    return "\n".join([row(head), "| " + " | ".join("---" for _ in head) + " |", *map(row, rows)])
