"""Keep a server's entities and activation records in memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from mlfn_local.openwhisk.entities import Action, Activation, Package, Rule, Trigger

__all__ = ["Store"]

_RECORDS_KEPT = 10_000

Name = tuple[str, str]
"""(path, name); the path is the namespace, with the package for actions in one."""


@dataclass(slots=True)
class Store:
    """Entities by (path, name), and the newest activation records, oldest first."""

    actions: dict[Name, Action] = field(default_factory=dict)
    packages: dict[Name, Package] = field(default_factory=dict)
    triggers: dict[Name, Trigger] = field(default_factory=dict)
    rules: dict[Name, Rule] = field(default_factory=dict)
    activations: deque[Activation] = field(default_factory=lambda: deque(maxlen=_RECORDS_KEPT))

    def rules_of(self, trigger: Name) -> tuple[Rule, ...]:
        """Return the rules that point at a trigger."""
        return tuple(rule for rule in self.rules.values() if rule.trigger == trigger)

    def actions_in(self, path: str) -> tuple[Action, ...]:
        """Return the actions of a package (or of a namespace without packages)."""
        return tuple(action for (at, _), action in self.actions.items() if at == path)

    def activation(self, namespace: str, activation_id: str) -> Activation | None:
        """Return a record by its id."""
        found = (one for one in self.activations if one.activation_id == activation_id and one.namespace == namespace)
        return next(found, None)
