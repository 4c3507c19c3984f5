"""Create, show, change and delete actions, packages, triggers and rules, as OpenWhisk's API does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mlfn_local.openwhisk.entities import Action, Limits, Package, Rule, Trigger, next_version
from mlfn_local.openwhisk.reading import check_name, json_size, read_exec, read_limits, read_pairs, read_reference
from mlfn_local.openwhisk.refusals import Refused, malformed, not_found
from mlfn_local.openwhisk.settings import ServerSettings
from mlfn_local.openwhisk.store import Name, Store

__all__ = ["EntityCalls"]

Json = Any
_THERE = "resource already exists"
_TOO_LONG = "Too many actions in the sequence."


class EntityCalls:
    """Carry out the calls of one server on its store. Every call raises Refused."""

    def __init__(self, store: Store, settings: ServerSettings, now_ms: Callable[[], int]) -> None:
        self._store = store
        self.settings = settings
        self._now_ms = now_ms

    # ---- actions

    def put_action(self, name: Name, given: dict[str, Json], *, overwrite: bool) -> Json:
        """Create an action, or update one where ``overwrite`` says so."""
        namespace, _, package = name[0].partition("/")
        check_name(name[1])
        old = self._store.actions.get(name)
        execution = read_exec(given["exec"], namespace, self.settings) if given.get("exec") else None
        parameters, init = self._given_parameters(given)
        limits = read_limits(given.get("limits") or {}, old.limits if old else self._default_limits(), self.settings)
        self._check_package((namespace, package))
        if old is not None and not overwrite:
            raise Refused(409, _THERE)
        if execution is None:
            if old is None:
                raise Refused(400, "exec undefined")
            execution = old.exec
        annotations = _annotations(given, old)
        if old is None:
            annotations.setdefault("provide-api-key", False)
        annotations.pop("exec", None)
        annotations["exec"] = execution.kind
        if execution.kind == "sequence":
            self._check_components(execution.components, "/".join(name))
            parameters = {"_actions": list(execution.components)}
        elif parameters is None and old is not None and old.exec.kind == "sequence":
            parameters = {}  # what a sequence keeps in them is no parameter
        action = Action(
            namespace=namespace,
            package=package,
            name=name[1],
            exec=execution,
            limits=limits,
            parameters=parameters if parameters is not None else (old.parameters if old else {}),
            init_parameters=init if parameters is not None or old is None else old.init_parameters,
            annotations=annotations,
            version=next_version(old.version) if old else "0.0.1",
            publish=bool(given.get("publish", old.publish if old else False)),
            updated_ms=self._now_ms(),
        )
        self._store.actions[name] = action
        return action.json()

    def _default_limits(self) -> Limits:
        return Limits(self.settings.default_timeout_ms, self.settings.default_memory_mb, self.settings.most_logs_mb)

    def _given_parameters(self, given: dict[str, Json]) -> tuple[dict[str, Json] | None, frozenset[str]]:
        if given.get("parameters") is None:
            return None, frozenset()
        parameters, init = read_pairs(given["parameters"])
        size, most = json_size(parameters), self.settings.most_payload_bytes
        if size > most:
            raise Refused(413, f"parameters larger than allowed: {size} > {most} bytes.")
        return parameters, init

    def _check_package(self, name: Name) -> None:
        """Check that actions may be put into a package, or taken out of it."""
        if not name[1]:
            return
        if name not in self._store.packages:
            raise not_found()
        if self._store.packages[name].binding is not None:
            raise Refused(400, "Operation not permitted on package binding.")

    def _check_components(self, components: tuple[str, ...], own: str) -> None:
        if not components:
            raise Refused(400, "No component specified for the sequence.")
        if self._count_actions(components, own) > self.settings.most_sequence:
            raise Refused(400, _TOO_LONG)

    def _count_actions(self, components: tuple[str, ...], own: str) -> int:
        """Count the actions of a sequence, those of sequences in it included, none of which may be ``own``."""
        if len(components) > self.settings.most_sequence:
            raise Refused(400, _TOO_LONG)
        count = 0
        for component in components:
            found = self._store.find_action(component.lstrip("/"))
            if own in (component.lstrip("/"), found.action.full_name if found else ""):
                raise Refused(400, "Sequence may not refer to itself.")
            if found is None:
                raise Refused(400, "Sequence component does not exist.")
            inner = found.action.exec
            count += self._count_actions(inner.components, own) if inner.kind == "sequence" else 1
        return count

    def get_action(self, name: Name, *, with_code: bool) -> Json:
        """Return an action's record, with the parameters of its package."""
        found = self._store.find_action("/".join(name))
        if found is None:
            raise not_found()
        return replace(found.action, parameters=found.parameters).json(with_code=with_code)

    def actions_of(self, name: Name) -> list[Action]:
        """Return the actions of a package, or of what it binds, newest first."""
        package = self._store.packages.get(name)
        if package is None:
            raise not_found()
        path = "/".join(package.binding or name)
        return sorted(self._store.actions_in(path), key=lambda action: action.updated_ms, reverse=True)

    def delete_action(self, name: Name) -> Json:
        """Delete an action and return what it was."""
        namespace, _, package = name[0].partition("/")
        self._check_package((namespace, package))
        if name not in self._store.actions:
            raise not_found()
        return self._store.actions.pop(name).json()

    # ---- packages

    def put_package(self, name: Name, given: dict[str, Json], *, overwrite: bool) -> Json:
        """Create, bind or update a package."""
        check_name(name[1])
        old = self._store.packages.get(name)
        if old is not None and not overwrite:
            raise Refused(409, _THERE)
        parameters, _ = self._given_parameters(given)
        annotations = _annotations(given, old)
        binding = self._read_binding(given.get("binding"), name[0]) if given.get("binding") else None
        if binding is None and old is not None:
            binding = old.binding
        if binding is not None:
            annotations["binding"] = {"name": binding[1], "namespace": binding[0]}
        package = Package(
            namespace=name[0],
            name=name[1],
            parameters=parameters if parameters is not None else (old.parameters if old else {}),
            annotations=annotations,
            binding=binding,
            version=next_version(old.version) if old else "0.0.1",
            publish=bool(given.get("publish", old.publish if old else False)),
            updated_ms=self._now_ms(),
        )
        self._store.packages[name] = package
        return package.json()

    def _read_binding(self, given: Json, namespace: str) -> Name:
        if not isinstance(given, dict) or not isinstance(given.get("name"), str):
            raise malformed("binding malformed!")
        owner = given.get("namespace", "_")
        target = (namespace if owner == "_" else str(owner), given["name"])
        if target not in self._store.packages:
            raise Refused(400, "Binding references a package that does not exist.")
        if self._store.packages[target].binding is not None:
            raise Refused(400, "Cannot bind to another package binding.")
        return target

    def get_package(self, name: Name) -> Json:
        """Return a package with its contents; a binding shows the contents and parameters of what it binds."""
        package = self._store.packages.get(name)
        if package is None:
            raise not_found()
        bound = self._store.packages.get(package.binding) if package.binding else None
        source = bound or package
        contents = [
            {"annotations": whole["annotations"], "name": whole["name"], "version": whole["version"]}
            for whole in (action.json() for action in self._store.actions_in(f"{source.namespace}/{source.name}"))
        ]
        feeds = [entry for entry in contents if {"key": "feed", "value": True} in entry["annotations"]]
        shown = replace(package, parameters={**(bound.parameters if bound else {}), **package.parameters}).json()
        return shown | {"actions": [entry for entry in contents if entry not in feeds], "feeds": feeds}

    def delete_package(self, name: Name, *, force: bool) -> Json:
        """Delete an empty package, or one with its contents."""
        package = self._store.packages.get(name)
        if package is None:
            raise not_found()
        contents = self._store.actions_in("/".join(name)) if package.binding is None else ()
        if contents and not force:
            count = f"{len(contents)} {'entity' if len(contents) == 1 else 'entities'}"
            raise Refused(409, f"Package not empty (contains {count}). Set force param or delete package contents.")
        for action in contents:
            del self._store.actions[(action.path, action.name)]
        return self._store.packages.pop(name).json()

    # ---- triggers

    def put_trigger(self, name: Name, given: dict[str, Json], *, overwrite: bool) -> Json:
        """Create or update a trigger."""
        check_name(name[1])
        old = self._store.triggers.get(name)
        if old is not None and not overwrite:
            raise Refused(409, _THERE)
        parameters, _ = self._given_parameters(given)
        trigger = Trigger(
            namespace=name[0],
            name=name[1],
            parameters=parameters if parameters is not None else (old.parameters if old else {}),
            annotations=_annotations(given, old),
            version=next_version(old.version) if old else "0.0.1",
            publish=bool(given.get("publish", old.publish if old else False)),
            updated_ms=self._now_ms(),
        )
        self._store.triggers[name] = trigger
        return self._shown_trigger(trigger)

    def get_trigger(self, name: Name) -> Json:
        """Return a trigger with the rules that point at it."""
        return self._shown_trigger(self.trigger(name))

    def trigger(self, name: Name) -> Trigger:
        """Return a trigger."""
        if name not in self._store.triggers:
            raise not_found()
        return self._store.triggers[name]

    def _shown_trigger(self, trigger: Trigger) -> Json:
        return trigger.json(self._store.rules_of((trigger.namespace, trigger.name)))

    def delete_trigger(self, name: Name) -> Json:
        """Delete a trigger; rules that point at it stay, and are inactive."""
        shown = self.get_trigger(name)
        del self._store.triggers[name]
        return shown

    # ---- rules

    def put_rule(self, name: Name, given: dict[str, Json], *, overwrite: bool) -> Json:
        """Create or update a rule."""
        check_name(name[1])
        old = self._store.rules.get(name)
        if old is not None and not overwrite:
            raise Refused(409, _THERE)
        trigger = self._target(given, "trigger", name[0], old.trigger if old else None)
        action = self._target(given, "action", name[0], old.action if old else None)
        rule = Rule(
            namespace=name[0],
            name=name[1],
            trigger=trigger,
            action=action,
            active=True if old is None or given.get("status") != "inactive" else old.active,
            annotations=_annotations(given, old),
            version=next_version(old.version) if old else "0.0.1",
            publish=bool(given.get("publish", False)),
            updated_ms=self._now_ms(),
        )
        self._store.rules[name] = rule
        return self._shown_rule(rule)

    def _target(self, given: dict[str, Json], what: str, namespace: str, old: Name | None) -> Name:
        """Return the trigger or action that a rule names; it has to be there."""
        if not given.get(what):
            if old is None:
                raise Refused(400, f"{what} undefined")
            return old
        parts = read_reference(str(given[what]), namespace)
        full = "/".join(parts)
        target = ("/".join(parts[:-1]), parts[-1])
        there = target in self._store.triggers if what == "trigger" else self._store.find_action(full) is not None
        if not there:
            raise Refused(400, f"{what} /{full} does not exist")
        return target

    def _shown_rule(self, rule: Rule) -> Json:
        return replace(rule, active=rule.active and rule.trigger in self._store.triggers).json()

    def get_rule(self, name: Name) -> Json:
        """Return a rule."""
        if name not in self._store.rules:
            raise not_found()
        return self._shown_rule(self._store.rules[name])

    def switch_rule(self, name: Name, given: dict[str, Json]) -> str:
        """Make a rule active or inactive."""
        if name not in self._store.rules:
            raise not_found()
        status = given.get("status")
        if status not in ("active", "inactive"):
            raise malformed("status must be 'active' or 'inactive'")
        self._store.rules[name] = replace(self._store.rules[name], active=status == "active")
        return "OK"

    def delete_rule(self, name: Name) -> Json:
        """Delete a rule."""
        shown = self.get_rule(name)
        del self._store.rules[name]
        return shown


def _annotations(given: dict[str, Json], old: Action | Package | Trigger | Rule | None) -> dict[str, Json]:
    """Return the annotations after a change: those given are merged in, those named to be deleted go."""
    kept = dict(old.annotations) if old is not None else {}
    gone = given.get("delAnnotations") or []
    if not isinstance(gone, list):
        raise malformed("delAnnotations malformed!")
    for name in gone:
        kept.pop(str(name), None)
    if given.get("annotations") is not None:
        new = read_pairs(given["annotations"], "annotations")[0]
        kept = {key: value for key, value in kept.items() if key not in new} | new
    return kept
