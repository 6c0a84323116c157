"""Whether Kubernetes would take the objects: the schemas of its versions, and of an operator's kinds."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate

from tests.kubernetes.rendered import called

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kubernetes.rendered import Object

# The oldest and the newest that Kubernetes' authors maintain (November 2026).
VERSIONS = ("1.35", "1.37")

# The operator's schemas; crds/README.md says where they are from.
OPERATORS = Path(__file__).parent / "crds"
OPERATORS_GROUP = "monitoring.coreos.com/v1"


def misfits(objects: list[Object], version: str) -> Iterator[str]:
    """What the schemas of a version of Kubernetes refuse; a field that they do not know too."""
    for one in objects:
        said = (
            _operators(one["kind"], json.dumps(one))
            if one["apiVersion"] == OPERATORS_GROUP
            else _kubernetes(version, json.dumps(one))
        )
        if said:
            yield f"{called(one)}: {said}"


# Overlays have most of their objects in common, and a schema takes some 50 ms to read.
@functools.cache
def _kubernetes(version: str, one: str) -> str:
    try:
        kubernetes_validate.validate(json.loads(one), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{error.json_path}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return str(error.message)
    return ""


@functools.cache
def _operators(kind: str, one: str) -> str:
    path = OPERATORS / f"{kind}.json"
    if not path.exists():
        return f"no schema for {kind}"
    schema = _closed(json.loads(path.read_text()))
    try:
        jsonschema.Draft202012Validator(schema).validate(json.loads(one))
    except jsonschema.ValidationError as error:
        return f"{error.json_path}: {error.message}"
    return ""


def _closed(schema: Any) -> Any:  # noqa: ANN401 — any JSON
    """The schema, but fields that it does not name are refused, where the cluster drops them."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema["properties"]:
        closed.setdefault("additionalProperties", False)
        if "apiVersion" in schema["properties"]:
            closed["properties"]["metadata"] = {"type": "object"}
    if schema.get("x-kubernetes-int-or-string"):
        closed["type"] = ["integer", "string"]
    return closed
