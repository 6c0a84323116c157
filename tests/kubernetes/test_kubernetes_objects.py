"""deploy/kubernetes, without a cluster: each overlay is built, and nothing about it is amiss.

What a check finds is named by it; test_kubernetes_mistakes.py makes each of them find something.
"""

from __future__ import annotations

import pytest

from lab import kubernetes
from tests.kubernetes import hardened, reach, references, schemas
from tests.kubernetes.rendered import OVERLAYS, called, of_kind, overlay


@pytest.mark.parametrize("version", schemas.VERSIONS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_kubernetes_takes_it(name: str, version: str) -> None:
    """Every object fits the schema of its kind, in the oldest and the newest maintained version."""
    assert list(schemas.misfits(overlay(name), version)) == []


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize(
    "check",
    [
        *(hardened.unrestricted, hardened.soft),
        *(references.unmet, references.missing, references.unaddressed),
        *(reach.open_pods, reach.believed, reach.astray, reach.unasked),
    ],
    ids=lambda check: check.__name__,
)
def test_nothing_is_amiss(name: str, check: references.Check) -> None:
    """See the check."""
    assert list(check(overlay(name))) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_each_object_is_there_once(name: str) -> None:
    """All in the namespace that is made with them, which holds the profile `restricted`."""
    objects = overlay(name)
    assert len({called(one) for one in objects}) == len(objects)
    (namespace,) = of_kind(objects, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    elsewhere = [
        called(one)
        for one in objects
        if one["kind"] != "Namespace"
        and one["metadata"]["namespace"] != namespace["metadata"]["name"]
    ]
    assert elsewhere == []


def test_the_operators_rules_are_current() -> None:
    """`python -m lab.kubernetes` would change nothing."""
    there = {path.name: path.read_text() for path in kubernetes.DIRECTORY.iterdir()}
    assert there == kubernetes.texts()


def test_nothing_is_left_to_fill_in() -> None:
    """Where a value comes from another file, its place says so until it is there."""
    for name in OVERLAYS:
        assert "from ." not in str(of_kind(overlay(name), "Deployment", "StatefulSet", "DaemonSet"))
