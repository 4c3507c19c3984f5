"""Templates are filled in strictly, and what comes out is what its reader takes."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import mlfn_templates
from mlfn_templates import TemplateError, names, render
from mlfn_templates.quoting import comment, systemd
from mlfn_templates.quoting import yaml as yaml_scalar

SECTIONS: list[dict[str, Any]] = [
    {"name": "", "settings": [{"key": "platform", "default": "local", "reason": "where it runs", "expects": "a name"}]},
    {
        "name": "function",
        "settings": [
            {"key": "memory", "default": "512Mi", "reason": "a reason " * 40, "expects": "a size"},
            {"key": "name", "default": "", "reason": "its name", "expects": "a name"},
            {"key": "note", "default": "a: b # c", "reason": "odd", "expects": "text"},
        ],
    },
]

DIGEST = "sha256:" + "0" * 64

VALUES: dict[str, dict[str, object]] = {
    "Dockerfile.j2": {
        "name": "iris",
        "engine": "docker",
        "architecture": "arm64",
        "base": "registry.example.com/python:3.13",
        "layers": [{"file": "runtime.tar", "what": "runtime: the server"}],
        "environment": {"B": 'a "quoted" $word\\', "A": "plain"},
        "labels": {"dev.mlfn.name": "iris"},
        "working_folder": "/",
        "user": "65532:65532",
        "ports": ["8080/tcp"],
        "stop_signal": "SIGTERM",
        "entrypoint": ["python3", "-m", "mlfn_runtime"],
        "command": [],
    },
    "helm-chart.yaml.j2": {"name": "iris", "digest": DIGEST},
    "helm-notes.txt.j2": {},
    "helm-values.yaml.j2": {
        "name": "iris",
        "repository": "registry.example.com:5000/team/iris",
        "image_digest": DIGEST,
        "values": {"minScale": 1, "maxScale": 3},
        "resources": "resources: {}",
    },
    "kustomization.yaml.j2": {
        "name": "iris",
        "target_namespace": "flowers",
        "files": ["deployment.yaml", "service.yaml"],
        "repository": "registry.example.com:5000/team/iris",
        "image_digest": DIGEST,
    },
    "mlfn.yaml.j2": {"sections": SECTIONS},
    "wsk-deploy.sh.j2": {"commands": [["action", "delete", "it is $HOME"]]},
    "mlfn-local.service.j2": {"mlfn": "/usr/bin/mlfn", "state_dir": "/var/lib/mlfn"},
}


def test_every_template_is_listed_and_tested() -> None:
    assert list(names()) == sorted(VALUES)
    assert mlfn_templates.__all__ == sorted(mlfn_templates.__all__)


@pytest.mark.parametrize("name", VALUES)
def test_a_text_ends_with_one_newline(name: str) -> None:
    text = render(name, VALUES[name])
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert not re.search(r"[ \t]$|\n\n\n", text, re.MULTILINE)


@pytest.mark.parametrize("name", VALUES)
def test_a_missing_value_is_an_error(name: str) -> None:
    for missing in VALUES[name]:
        values = {key: value for key, value in VALUES[name].items() if key != missing}
        with pytest.raises(TemplateError, match=f"{re.escape(name)}.*'{missing}' is undefined"):
            render(name, values)


def test_a_missing_attribute_is_an_error() -> None:
    with pytest.raises(TemplateError, match="settings"):
        render("mlfn.yaml.j2", {"sections": [{"name": "function"}]})


def test_an_unknown_template_is_answered_with_those_there_are() -> None:
    with pytest.raises(TemplateError, match=r"no template is called 'mlfn\.yml'.*mlfn\.yaml\.j2"):
        render("mlfn.yml", {})


def test_settings_are_all_switched_off() -> None:
    text = render("mlfn.yaml.j2", VALUES["mlfn.yaml.j2"])
    assert yaml.safe_load(text) == {"function": None}
    assert max(map(len, text.splitlines())) <= 120


def test_settings_switched_on_are_what_they_say() -> None:
    text = render("mlfn.yaml.j2", VALUES["mlfn.yaml.j2"])
    switched_on = re.sub(r"(?m)^( *)# (platform|memory|name|note):", r"\1\2:", text)
    assert yaml.safe_load(switched_on) == {
        "platform": "local",
        "function": {"memory": "512Mi", "name": None, "note": "a: b # c"},
    }


def test_the_unit_is_what_systemd_reads() -> None:
    unit = ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]  # systemd's keys have capitals
    unit.read_string(render("mlfn-local.service.j2", {"mlfn": "/home/me/100% mine/mlfn", "state_dir": "/s $1"}))
    assert unit["Service"]["ExecStart"] == '"/home/me/100%% mine/mlfn" local up --state-dir "/s $$1"'
    assert unit["Service"]["ExecStop"] == '"/home/me/100%% mine/mlfn" local down --state-dir "/s $$1"'
    assert unit["Install"]["WantedBy"] == "default.target"


def test_the_unit_leaves_the_state_folder_to_mlfn() -> None:
    assert "--state-dir" not in render("mlfn-local.service.j2", {"mlfn": "mlfn", "state_dir": ""})


def test_a_dockerfile_expands_nothing() -> None:
    lines = render("Dockerfile.j2", VALUES["Dockerfile.j2"]).splitlines()
    assert [line for line in lines if line.startswith("ENV")] == [
        'ENV A="plain"',
        r'ENV B="a \"quoted\" \$word\\"',
    ]
    assert lines[-2:] == ['ENTRYPOINT ["python3", "-m", "mlfn_runtime"]', "CMD []"]


def test_a_dockerfile_cannot_hold_lines() -> None:
    with pytest.raises(TemplateError, match="several lines"):
        render("Dockerfile.j2", VALUES["Dockerfile.j2"] | {"environment": {"A": "a\nRUN id"}})


@given(st.text())
def test_any_text_is_one_yaml_scalar(text: str) -> None:
    printable = "".join(character for character in text if character.isprintable())
    assert str(yaml.load(f"key: {yaml_scalar(printable)}", yaml.BaseLoader)["key"]) == printable


@given(st.text())
def test_any_text_is_one_word_of_a_unit(text: str) -> None:
    word = systemd(text)
    assert "\n" not in word
    assert re.fullmatch(r'"(?:[^"\\$%]|\\.|\$\$|%%)*"', word, re.DOTALL)


def test_a_comment_is_wrapped_at_its_indent() -> None:
    lines = comment("word " * 60, indent=2, width=40).splitlines()
    assert len(lines) > 5
    assert lines[0].startswith("# ")
    assert all(line.startswith("  # ") and len(line) <= 40 for line in lines[1:])


def test_importing_is_cheap() -> None:
    code = "import sys, mlfn_templates; print('jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False"
