"""The page at ``/docs`` needs nothing from elsewhere, and works in a browser where one is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=5000",
)


def test_the_page_loads_nothing_from_elsewhere(iris: Any) -> None:
    with iris.client() as client:
        response = client.get("/docs")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "connect-src 'self'" in response.headers["content-security-policy"]
    page = response.text
    assert not re.findall(r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//""", page)
    assert not re.findall(r"@import|url\(|<script\s+src|<link\s+rel=.stylesheet", page)
    assert "innerHTML" not in page


def test_the_description_has_what_the_page_shows(iris: Any) -> None:
    with iris.client() as client:
        document = client.get("/openapi.json").json()
        shown = document["x-mlfn-model"]
        assert shown["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 4]}]
        example = document["components"]["examples"]["inference"]["value"]
        assert client.post(shown["infer"], json=example).status_code == 200


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
@pytest.mark.timeout(90)
def test_a_browser_shows_the_signature(iris: Any, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    argv = (CHROMIUM, *QUIET, f"--user-data-dir={tmp_path}", "--dump-dom", f"{iris.url}/docs")
    page = subprocess.run(argv, capture_output=True, text=True, timeout=80, check=True).stdout
    assert '<h1 id="name">iris</h1>' in page
    assert "POST /v2/models/iris/infer" in page
    assert "[any, 4]" in page
    assert "probabilities" in page
    assert '<button class="main" id="send" type="submit">' in page  # enabled: the script has run to its end
