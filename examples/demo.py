"""Deploy the iris classifier on this machine, ask it, let it scale to zero, ask again. Run by ``make demo``.

Standard library only: what it does with ``mlfn`` and HTTP is what anyone would type.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
MLFN = Path(sys.executable).with_name("mlfn")
SPECIES = ("setosa", "versicolor", "virginica")
ZERO_WITHIN_S = 30.0


def main() -> int:
    """Tell the story step by step; data on stdout, progress on stderr."""
    deployed = mlfn_json("deploy", str(HERE / "iris/model.onnx"), "--name", "iris", "--window", "6s")
    url, name = str(deployed["url"]), str(deployed["name"])
    body = (HERE / "iris/request.json").read_bytes()
    _, answer = ask(url, name, body)
    latency_ms = statistics.median(ask(url, name, body)[0] for _ in range(50)) * 1e3
    say("waiting until nobody has asked for 6 s and it scales to zero …")
    gone_after_s = wait_for_zero(name)
    cold_s, again = ask(url, name, body)
    assert outputs(again) == outputs(answer), "an answer after a cold start differs from the one before"
    print(f"URL          {url}/v2/models/{name}/infer")
    print(f"prediction   {prediction(answer)}")
    print(f"latency      {latency_ms:.2f} ms (median of 50 requests on new connections)")
    print(f"cold start   {cold_s * 1e3:.0f} ms (scaled to zero after {gone_after_s:.0f} s, then one request)")
    print(f"\nnext:\n  {shown()} describe {name}\n  {shown()} invoke {name} --example")
    print(f"  {shown()} deploy YOUR_MODEL.onnx      (make demo-down stops the local platform)")
    return 0


def mlfn_json(*arguments: str) -> dict[str, object]:
    """Run mlfn, let its progress through, return its JSON."""
    done = subprocess.run([MLFN, *arguments, "-o", "json"], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def ask(url: str, name: str, body: bytes) -> tuple[float, dict[str, object]]:
    """Send one Open Inference request; return seconds and answer."""
    request = urllib.request.Request(f"{url}/v2/models/{name}/infer", body, {"Content-Type": "application/json"})
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=30) as reply:
        raw = reply.read()
    return time.perf_counter() - began, json.loads(raw)


def wait_for_zero(name: str) -> float:
    """Return the seconds until the function has no instance."""
    began = time.monotonic()
    while time.monotonic() - began < ZERO_WITHIN_S:
        if mlfn_json("describe", name)["instances"] == []:
            return time.monotonic() - began
        time.sleep(0.5)
    sys.exit(f"error: {name} still has instances after {ZERO_WITHIN_S:.0f} s; see: {shown()} describe {name}")


def outputs(answer: dict[str, object]) -> object:
    """Return the tensors of an answer."""
    return answer["outputs"]


def prediction(answer: dict[str, object]) -> str:
    """Read the classifier's label and probabilities."""
    tensors = {tensor["name"]: tensor["data"] for tensor in answer["outputs"]}  # type: ignore[attr-defined]  # JSON
    label, chances = tensors["label"][0], tensors["probabilities"]
    return f"{SPECIES[label]}  ({', '.join(f'{s} {p:.3f}' for s, p in zip(SPECIES, chances, strict=False))})"


def shown() -> str:
    """Return mlfn as the user would type it from here."""
    return str(MLFN.relative_to(Path.cwd())) if MLFN.is_relative_to(Path.cwd()) else str(MLFN)


def say(text: str) -> None:
    """Tell progress."""
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
