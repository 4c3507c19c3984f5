"""Precedence, origins, files: what wins, and that everything wrong is told at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from platformdirs import user_config_path

from mlfn.errors import InvalidInput
from mlfn.settings import FIELDS, Resolved, resolve
from mlfn.settings.fields import SECTIONS
from mlfn.settings.resolver import project_file, user_file, user_folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a folder in which the search for mlfn.yaml ends."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / ".git").mkdir()
    return folder


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Give an environment with an empty user file."""
    file = tmp_path / "user.yaml"
    file.write_text("")
    return {"MLFN_CONFIG": str(file)}


def refuse(flags: Mapping[str, object], env: Mapping[str, str], folder: Path) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        resolve(flags, env, folder)
    return caught.value


def origin(resolved: Resolved, key: str) -> tuple[str, str]:
    return resolved.origins[key].kind, resolved.origins[key].where


def test_without_any_source_every_value_is_its_default(project: Path, env: dict[str, str]) -> None:
    resolved = resolve({}, env, project)
    assert {key: resolved.value(key) for key in FIELDS} == {key: field.default for key, field in FIELDS.items()}
    assert {each.kind for each in resolved.origins.values()} == {"default"}


def test_flag_wins_over_environment_over_project_over_user_over_default(project: Path, env: dict[str, str]) -> None:
    Path(env["MLFN_CONFIG"]).write_text("serve: {port: 1, host: user, name: user}\ninvoke:\n  timeout: 9s\n")
    (project / "mlfn.yaml").write_text("serve:\n  port: 2\n  host: project\n")
    env |= {"MLFN_SERVE_PORT": "3"}

    resolved = resolve({"serve_port": "4"}, env, project)
    assert (resolved.settings.serve.port, origin(resolved, "serve.port")) == (4, ("flag", "--port"))
    flagless = resolve({"serve_port": None}, env, project)
    assert (flagless.settings.serve.port, origin(flagless, "serve.port")) == (
        3,
        ("environment", "MLFN_SERVE_PORT"),
    )
    assert origin(resolved, "serve.host") == ("project", f"{project}/mlfn.yaml:3")
    assert origin(resolved, "serve.name") == ("user", f"{env['MLFN_CONFIG']}:1")
    assert origin(resolved, "invoke.timeout") == ("user", f"{env['MLFN_CONFIG']}:3")
    assert resolved.files == (project / "mlfn.yaml", Path(env["MLFN_CONFIG"]))


SAMPLES = {
    "NAME": "a-name",
    "PATH": "/x",
    "N": "7",
    "NUMBER": "7",
    "DURATION": "7s",
    "SIZE": "32Mi",
    "KEY=VALUE": "A=1",
    "NAME=SECRET/KEY": "A=secret/key",
    "HOST": "h",
    "BOOLEAN": "true",
    "CORES": "500m",
    "ARCH[,ARCH]": "arm64",
    "auto|off|PERIOD": "auto",
    "REGISTRY[/REPOSITORY]": "registry.example.com/team",
    "REFERENCE": "oci:base",
    "NAMESPACE": "team",
    "CONTEXT": "here",
    "URL": "http://10.0.0.1",
}
"""A usable text of each kind; of a closed set of words, the last."""


@pytest.mark.parametrize("key", FIELDS)
def test_every_setting_has_its_environment_variable(key: str, project: Path, env: dict[str, str]) -> None:
    field = FIELDS[key]
    raw = SAMPLES.get(field.kind.name) or field.kind.name.split("|")[-1]
    resolved = resolve({}, {**env, field.env: f" {raw} "}, project)
    assert origin(resolved, key) == ("environment", field.env)
    assert resolved.value(key) == field.kind.read(raw) != field.default
    assert field.env.startswith("MLFN_")


def test_text_is_not_empty(project: Path, env: dict[str, str]) -> None:
    for flag in ("platform", "local_state_dir"):
        assert "' ' cannot be used: expected a" in refuse({flag: " "}, env, project).message
    home = resolve({"local_state_dir": "~/state"}, env, project).settings.local.state_dir
    assert home == str(Path("~/state").expanduser())


def test_an_empty_variable_is_an_unset_one(project: Path, env: dict[str, str]) -> None:
    assert resolve({}, {**env, "MLFN_SERVE_PORT": ""}, project).settings.serve.port == 8080


def test_environment_variables_of_the_function_merge_by_name(project: Path, env: dict[str, str]) -> None:
    (project / "mlfn.yaml").write_text("function:\n  env:\n    A: yes\n    B: 2\n")
    resolved = resolve({"function_env": ("B=flag", "C=x=y")}, env, project)
    assert resolved.settings.function.env == {"A": "yes", "B": "flag", "C": "x=y"}


def test_a_relative_path_is_relative_to_the_file_it_stands_in(project: Path, env: dict[str, str]) -> None:
    (project / "mlfn.yaml").write_text("function:\n  model: models/iris.onnx\n")
    below = project / "src"
    below.mkdir()
    assert resolve({}, env, below).settings.function.model == str(project / "models/iris.onnx")
    assert resolve({"local_state_dir": "state"}, env, below).settings.local.state_dir == str(below / "state")


def test_all_problems_of_all_sources_are_told_at_once(project: Path, env: dict[str, str]) -> None:
    (project / "mlfn.yaml").write_text("function:\n  concurency: 4\n  window: [1]\nserver:\n  port: 1\n")
    env["MLFN_SERVE_PORT"] = "99999"
    flags = {
        "function_name": "My_Model",
        "function_memory": "512mb",
        "function_min_scale": "3",
        "function_max_scale": "2",
    }
    error = refuse(flags, env, project)
    told = error.details.splitlines()
    file = project / "mlfn.yaml"
    assert error.message == f"{len(told)} settings cannot be used"
    assert f"{file}:2: unknown setting 'function.concurency'" in told
    assert any(line.startswith(f"{file}:3: function.window: no usable value: expected a duration") for line in told)
    assert f"{file}:5: unknown setting 'server.port'" in told
    assert "MLFN_SERVE_PORT: '99999' cannot be used: expected a whole number from 0 to 65535" in told
    assert any(line.startswith("--name: 'My_Model' cannot be used") for line in told)
    assert any(line.startswith("--memory: '512mb' cannot be used") for line in told)
    assert "--min-scale is 3 and --max-scale is 2: the most must be at least the least" in told
    for hint in ("did you mean 'function.concurrency'?", "did you mean 'serve.port'?", "try --name my-model"):
        assert hint in error.hints
    assert "try --memory 512M" in error.hints


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "function:\n  concurrency: many\n",
            ":2: function.concurrency: 'many' cannot be used: expected a whole number",
        ),
        ("function:\n  memory:\n", ":2: function.memory: no usable value: expected a size"),
        ("function:\n  env: [A]\n", ":2: function.env: no usable value"),
        ("function:\n  env:\n    1A: x\n", ":2: function.env: no usable value"),
        ("function: 4\n", ":1: function is a section"),
        ("plattform: local\n", ":1: unknown setting 'plattform'"),
        ("serve:\n  port: 1\n  port: 2\n", ":3: 'port' stands twice, first on line 2"),
        ("a: [1\n", ":2:1: is not YAML: "),
        ("- a\n- b\n", ": expected settings as 'key: value' lines"),
        ("just text", ": expected settings as 'key: value' lines"),
    ],
    ids=lambda value: value.strip().replace("\n", " ")[:24],
)
def test_a_wrong_file_is_refused_with_its_line(content: str, told: str, project: Path, env: dict[str, str]) -> None:
    file = project / "mlfn.yaml"
    file.write_text(content)
    assert f"{file}{told}" in refuse({}, env, project).message


def test_bytes_that_are_not_text_are_refused(project: Path, env: dict[str, str]) -> None:
    (project / "mlfn.yaml").write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8 text" in refuse({}, env, project).message


def test_a_tag_makes_no_object(project: Path, env: dict[str, str]) -> None:
    (project / "mlfn.yaml").write_text("platform: !!python/object/apply:os.system ['echo hi']\n")
    assert "platform: no usable value" in refuse({}, env, project).message


def test_mlfn_config_has_to_be_a_file(project: Path, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.yaml"
    assert str(missing) in refuse({}, {"MLFN_CONFIG": str(missing)}, project).message


def test_the_search_ends_at_the_top_of_the_repository(project: Path) -> None:
    below = project / "a" / "b"
    below.mkdir(parents=True)
    (project.parent / "mlfn.yaml").write_text("platform: outside\n")
    assert project_file(below) is None
    (project / "mlfn.yaml").write_text("platform: inside\n")
    assert project_file(below) == project / "mlfn.yaml"
    (below.parent / "mlfn.yaml").write_text("platform: nearer\n")
    assert project_file(below) == below.parent / "mlfn.yaml"


def test_every_setting_says_its_reason_and_its_key_is_unique() -> None:
    assert all(field.reason for field in FIELDS.values())
    assert len({field.env for field in FIELDS.values()}) == len(FIELDS)
    assert {field.section for field in FIELDS.values()} == {"", *SECTIONS}


def test_every_default_is_a_value_that_its_own_reader_takes_or_unset() -> None:
    for field in FIELDS.values():
        shown = field.kind.show(field.default)
        assert not shown or field.kind.read(shown) == field.default, field.key


@pytest.mark.parametrize("stated", ["", "  ", "/elsewhere", None])
def test_the_users_file_lies_where_platformdirs_says(stated: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    if stated is not None:
        monkeypatch.setenv("XDG_CONFIG_HOME", stated)
    assert user_folder(os.environ) == user_config_path("mlfn", appauthor=False)


def test_a_user_without_a_home_has_no_settings_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def homeless(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert user_file({}) is None
    assert project_file(tmp_path) is None
