"""Keep a server's entities and activation records in memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from mlfn_local.openwhisk.entities import Action, Activation, Package, Pairs, Rule, Trigger

__all__ = ["Found", "Name", "Store"]

_RECORDS_KEPT = 10_000

Name = tuple[str, str]
"""(path, name); the path is the namespace, with the package for actions in one."""


@dataclass(frozen=True, slots=True)
class Found:
    """An action as it was reached: in its package, and perhaps through a binding of that (its full name)."""

    action: Action
    inherited: Pairs
    """Parameters of package and binding; the action's own come before them."""
    binding: str = ""

    @property
    def parameters(self) -> Pairs:
        """Return every parameter that the action has before a caller gives any."""
        return {**self.inherited, **self.action.parameters}

    @property
    def fixed(self) -> frozenset[str]:
        """Return the parameters that no caller may give, since the action says that its own are final."""
        if self.action.annotations.get("final") is not True:
            return frozenset()
        return frozenset(name for name, value in self.parameters.items() if value is not None)


@dataclass(slots=True)
class Store:
    """Entities by (path, name), and the newest activation records, oldest first."""

    actions: dict[Name, Action] = field(default_factory=dict)
    packages: dict[Name, Package] = field(default_factory=dict)
    triggers: dict[Name, Trigger] = field(default_factory=dict)
    rules: dict[Name, Rule] = field(default_factory=dict)
    activations: deque[Activation] = field(default_factory=lambda: deque(maxlen=_RECORDS_KEPT))

    def find_action(self, full_name: str) -> Found | None:
        """Return an action by ``ns/[package/]name``; the package may be a binding."""
        path, _, name = full_name.rpartition("/")
        namespace, _, own = path.partition("/")
        package = self.packages.get((namespace, own)) if own else None
        inherited = package.parameters if package else {}
        if package is None or package.binding is None:
            action = self.actions.get((path, name))
            return Found(action, inherited) if action is not None else None
        action = self.actions.get(("/".join(package.binding), name))
        if action is None:
            return None
        bound = self.packages[package.binding].parameters if package.binding in self.packages else {}
        return Found(action, {**bound, **inherited}, path)

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
