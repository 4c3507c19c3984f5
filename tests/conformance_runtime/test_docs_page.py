"""The page at ``/docs`` needs nothing from elsewhere, and works in a browser where one is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

DRIVER = shutil.which("chromedriver")
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


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[httpx.Client]:
    """Return a WebDriver session in a headless browser."""
    assert DRIVER is not None
    driver = subprocess.Popen((DRIVER, "--port=0"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert driver.stdout is not None
    try:
        port = next(found[1] for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line)))
        options = {"args": [*QUIET[:-1], f"--user-data-dir={tmp_path}"], "binary": CHROMIUM}
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        base = f"http://127.0.0.1:{port}/session"
        with httpx.Client(timeout=60, trust_env=False) as client:
            session = client.post(base, json=wanted).json()["value"]["sessionId"]
            client.base_url = f"{base}/{session}/"
            yield client
            client.delete(f"{base}/{session}")
    finally:
        driver.terminate()
        driver.wait(10)
        driver.stdout.close()


def run_in(browser: httpx.Client, script: str) -> Any:
    return browser.post("execute/sync", json={"script": script, "args": []}).json()["value"]


@pytest.mark.skipif(DRIVER is None or CHROMIUM is None, reason="no chromedriver on PATH")
@pytest.mark.timeout(90)
def test_a_browser_sends_a_request_and_shows_the_answer(iris: Any, browser: httpx.Client) -> None:
    browser.post("timeouts", json={"implicit": 10_000})
    browser.post("url", json={"url": f"{iris.url}/docs"})
    enabled = {"using": "css selector", "value": "#send:enabled"}
    (send,) = browser.post("element", json=enabled).json()["value"].values()
    for body, shown in (("", "200 OK"), ("{", "400 Bad Request")):
        if body:
            run_in(browser, f"document.getElementById('body').value = {body!r}")
        browser.post(f"element/{send}/click", json={})
        label = {"using": "xpath", "value": f"//*[@id='status' and text()='{shown}']"}
        assert "error" not in browser.post("element", json=label).json()["value"]
        answer = run_in(browser, "return document.getElementById('answer').textContent")
        assert ('"model_name": "iris"' in answer) == (shown == "200 OK")
        assert ('"error"' in answer) == (shown != "200 OK")
        assert "ms" in run_in(browser, "return document.getElementById('latency').textContent")
