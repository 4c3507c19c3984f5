"""What goes into the model's service and what comes out, in arrays; no transport and no text.

Plain classes with slots instead of dataclasses: one of each is made per request, and a frozen dataclass costs
1 us more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mlfn_runtime.errors import RequestError

    Arrays = dict[str, NDArray[Any]]
    Reply = Callable[["InferenceResult | RequestError"], None]

__all__ = ["InferenceRequest", "InferenceResult"]


class InferenceRequest:
    """Ask for one inference.

    ``outputs`` names the outputs that are wanted, in order (None: all); ``binary`` holds those that the client wants
    as binary tensors; ``parameters`` are given back in the answer.
    """

    __slots__ = ("binary", "id", "inputs", "outputs", "parameters")

    def __init__(
        self,
        inputs: Arrays,
        *,
        id: str | None = None,  # noqa: A002  # the protocol's own word
        outputs: tuple[str, ...] | None = None,
        parameters: dict[str, object] | None = None,
        binary: frozenset[str] = frozenset(),
    ) -> None:
        self.inputs = inputs
        self.id = id
        self.outputs = outputs
        self.parameters = parameters
        self.binary = binary


class InferenceResult:
    """Hold all outputs of one inference, and how it was run: rows of the whole run, seconds waited and computed."""

    __slots__ = ("outputs", "run_rows", "run_s", "waited_s")

    def __init__(self, outputs: Arrays, run_rows: int = 1, waited_s: float = 0.0, run_s: float = 0.0) -> None:
        self.outputs = outputs
        self.run_rows = run_rows
        self.waited_s = waited_s
        self.run_s = run_s
