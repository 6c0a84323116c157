"""What docker-compose.yml and deploy/cluster.yml say, without Docker: read as YAML, .env put in."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.config.checks import ROOT


class _Loader(yaml.SafeLoader):
    """Knows Compose's own tags, `!reset` and `!override`, whose values are as written."""


def _as_written(loader: _Loader, node: yaml.Node) -> Any:  # noqa: ANN401 — any YAML
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return None


for _tag in ("!reset", "!override"):
    _Loader.add_constructor(_tag, _as_written)


def settings() -> dict[str, str]:
    """.env."""
    lines = (ROOT / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def services(path: str) -> dict[str, dict[str, Any]]:
    """The services of a file, with `${NAME}` by its value and `$$` by `$`."""
    known = settings()

    def value(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else known[match[1]]

    text = re.sub(r"\$\$|\$\{(\w+)\}", value, (ROOT / path).read_text())
    found: dict[str, dict[str, Any]] = yaml.load(text, Loader=_Loader)["services"]  # noqa: S506 — safe
    return found


def environment(service: dict[str, Any]) -> dict[str, str]:
    """Its variables; one without a value has that of .env."""
    said = service.get("environment", {})
    if isinstance(said, list):
        said = dict.fromkeys(said)
    return {name: settings()[name] if text is None else str(text) for name, text in said.items()}


def seconds(text: str) -> int:
    """`20s`."""
    return int(text.removesuffix("s"))


def mebibytes(text: str) -> int:
    """`512m`, as Compose says it, or `512Mi`, as Kubernetes does."""
    return int(re.fullmatch(r"(\d+)(?:m|Mi)", text)[1])  # type: ignore[index]


def cores(text: str | float) -> float:
    """`500m` or `1`, as Kubernetes says it, or `0.5`, as Compose does."""
    words = str(text)
    return int(words[:-1]) / 1000 if words.endswith("m") else float(words)
