"""The objects of a function as the files of a Helm chart or of a kustomize base. Pure: objects in, texts by path out.

In a chart, what one changes from place to place (image, number of instances, resources) comes from ``values.yaml``;
with the values written there the chart renders to the plain objects. A template is the object's own YAML in which a
value has been replaced by Helm's expression: marks stand in for them while the YAML is made.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from mlfn.delivery.documents import HEAD, document
from mlfn.platforms import DeployRequest
from mlfn_templates import render

__all__ = ["chart", "kustomization"]

Object = dict[str, Any]

_KNATIVE_SCALE = "autoscaling.knative.dev/"
_MARK = re.compile(r"( *)(?:([\w.-]+): )?'\{\{(\w+)\}\}'(: '')?\n")
"""A line with a mark; no text of the objects looks so, since braces in them are escaped first."""


def chart(request: DeployRequest, objects: tuple[Object, ...]) -> dict[str, str]:
    """Return the files of a Helm chart that renders to ``objects``."""
    assert request.image is not None
    values = _values(objects)
    common = {
        "name": request.spec.name,
        "digest": request.package.digest,
        "repository": request.image.name,
        "image_digest": request.image.digest,
        "values": values,
        "resources": document({"resources": _container(objects)["resources"]}).rstrip("\n"),
    }
    files = {
        "Chart.yaml": render("helm-chart.yaml.j2", common),
        "values.yaml": render("helm-values.yaml.j2", common),
        "templates/NOTES.txt": render("helm-notes.txt.j2", common),
    }
    for each in objects:
        files[f"templates/{_file(each)}"] = _head() + _template(each)
    return files


def kustomization(request: DeployRequest, objects: tuple[Object, ...], namespace: str) -> dict[str, str]:
    """Return the files of a kustomize base."""
    assert request.image is not None
    files = {_file(each): _head() + document(each) for each in objects}
    values = {
        "name": request.spec.name,
        "target_namespace": namespace,
        "files": sorted(files),
        "repository": request.image.name,
        "image_digest": request.image.digest,
    }
    return {**files, "kustomization.yaml": render("kustomization.yaml.j2", values)}


def _head() -> str:
    return f"{HEAD}: run that again instead of editing this.\n"


def _file(thing: Object) -> str:
    return f"{thing['kind'].lower()}.yaml"


def _values(objects: tuple[Object, ...]) -> dict[str, int]:
    """Return the numbers of instances as they are in the objects."""
    found: dict[str, int] = {}
    for each in objects:
        for place in _scale_places(each):
            found[place.value] = place.read()
    return found


class _Place:
    """One value in an object that the chart takes from values.yaml."""

    def __init__(self, value: str, holder: Object, key: str) -> None:
        self.value = value
        self._holder = holder
        self._key = key

    def read(self) -> int:
        return int(self._holder.get(self._key, 0))

    def mark(self) -> None:
        """Put a mark in its place."""
        if self._key.startswith(_KNATIVE_SCALE):
            self._holder.pop(self._key, None)
            self._holder[_mark(self.value)] = ""
        else:
            self._holder[self._key] = _mark(self.value)


def _scale_places(thing: Object) -> list[_Place]:
    spec = thing["spec"]
    if thing["kind"] == "HorizontalPodAutoscaler":
        return [_Place("minScale", spec, "minReplicas"), _Place("maxScale", spec, "maxReplicas")]
    if thing["kind"] == "Deployment" and "replicas" in spec:
        return [_Place("minScale", spec, "replicas")]
    if thing["apiVersion"].startswith("serving.knative.dev/"):
        annotations = spec["template"]["metadata"]["annotations"]
        keys = {"minScale": "min-scale", "maxScale": "max-scale"}
        return [_Place(value, annotations, _KNATIVE_SCALE + key) for value, key in keys.items()]
    return []


def _container(objects: tuple[Object, ...]) -> Object:
    """Return the container of the function."""
    for each in objects:
        template = each["spec"].get("template")
        if template:
            found: Object = template["spec"]["containers"][0]
            return found
    raise AssertionError("a function has a container")


def _template(thing: Object) -> str:
    """Return an object as a template of Helm's."""
    marked = _escaped(copy.deepcopy(thing))
    for place in _scale_places(marked):
        place.mark()
    if marked["spec"].get("template"):
        container = _container((marked,))
        container["image"] = _mark("image")
        container["resources"] = _mark("resources")
    return _MARK.sub(_expression, document(marked))


def _mark(value: str) -> str:
    return "{{" + value + "}}"


def _expression(found: re.Match[str]) -> str:
    indent, key, mark, absent = found.groups()
    if mark == "image":
        return f'{indent}{key}: "{{{{ .Values.image.repository }}}}@{{{{ .Values.image.digest }}}}"\n'
    if mark == "resources":
        return f"{indent}{key}:\n{indent}  {{{{- toYaml .Values.resources | nindent {len(indent) + 2} }}}}\n"
    if absent is not None:
        knative = {"minScale": "min-scale", "maxScale": "max-scale"}[mark]
        value = f".Values.scaling.{mark}"
        line = f"{indent}{_KNATIVE_SCALE}{knative}: {{{{ {value} | quote }}}}\n"
        return f"{indent}{{{{- if {value} }}}}\n{line}{indent}{{{{- end }}}}\n"
    return f"{indent}{key}: {{{{ .Values.scaling.{mark} }}}}\n"


def _escaped(value: Any) -> Any:
    """Return a value in which Helm finds no expression of its own."""
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value.replace("{{", "{{ `{{` }}") if isinstance(value, str) else value
