"""The manifests of docs/kubernetes: what Kubernetes takes, and what the Procfile starts."""

import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.integration.harness import procfile

ROOT = Path(__file__).resolve().parents[2]
#: Of Kubernetes itself, cut to these kinds; its `$comment` says from where.
SCHEMA = json.loads((ROOT / "tests/project/kubernetes.schema.json").read_text())
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for path in sorted((ROOT / "docs/kubernetes").glob("*.yaml"))
    for manifest in yaml.safe_load_all(path.read_text())
]
PODS = {
    manifest["metadata"]["name"].removeprefix("minutehand-"): manifest["spec"]["template"]
    for manifest in MANIFESTS
    if "template" in manifest["spec"]
}
CONTAINERS = {name: pod["spec"]["containers"][0] for name, pod in PODS.items()}


def validate(manifest: dict[str, Any]) -> None:
    schema = {**SCHEMA["kinds"][manifest["kind"]], "$defs": SCHEMA["$defs"]}
    jsonschema.validate(manifest, schema)


@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda m: f"{m['kind']} {m['metadata']['name']}"
)
def test_it_is_what_kubernetes_takes(manifest: dict[str, Any]) -> None:
    validate(manifest)


def test_a_word_that_kubernetes_does_not_know_is_found() -> None:
    deployment = json.loads(json.dumps(next(m for m in MANIFESTS if m["kind"] == "Deployment")))
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(jsonschema.ValidationError, match="readynessProbe"):
        validate(deployment)


@pytest.mark.parametrize("name", ["web", "beat", "dispatcher", "worker"])
def test_a_pod_starts_what_the_procfile_starts(name: str) -> None:
    everywhere = {"HOST": "0.0.0.0", "PORT": "8000"}
    assert shlex.join(CONTAINERS[name]["command"]) == shlex.join(procfile(name, everywhere))


def test_names_lead_to_something() -> None:
    """Selectors to the labels of pods, ports to ports, each container to one image and its
    settings."""
    labels = [pod["metadata"]["labels"] for pod in PODS.values() if "metadata" in pod]
    for manifest in MANIFESTS:
        selector = manifest["spec"].get("selector", {})
        if wanted := selector.get("matchLabels", selector):
            assert [found for found in labels if wanted.items() <= found.items()] == [wanted]
    ports = {port["name"] for port in CONTAINERS["web"]["ports"]}
    service = next(m for m in MANIFESTS if m["kind"] == "Service")
    probes = [CONTAINERS["web"][kind]["tcpSocket"] for kind in ("readinessProbe", "livenessProbe")]
    targets = [service["spec"]["ports"][0]["targetPort"], *(probe["port"] for probe in probes)]
    assert set(targets) == ports
    assert len({container["image"] for container in CONTAINERS.values()}) == 1
    sources = [container["envFrom"] for container in CONTAINERS.values()]
    assert sources == [[{"secretRef": {"name": "minutehand"}}]] * len(CONTAINERS)


@pytest.mark.parametrize("name", ["web", "dispatcher", "worker"])
def test_a_new_pod_is_there_before_an_old_one_goes(name: str) -> None:
    (spec,) = (
        m["spec"]
        for m in MANIFESTS
        if m["metadata"]["name"] == f"minutehand-{name}" and m["kind"] == "Deployment"
    )
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert spec["minReadySeconds"] > 0
    assert ("livenessProbe" in CONTAINERS[name]) is (name == "web")
