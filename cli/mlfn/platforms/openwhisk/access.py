"""Where OpenWhisk is and who calls: found as `wsk` finds it, except that there is no default host.

Flags and ``MLFN_*`` come before ``WHISK_*``, those before the properties file (``WSK_CONFIG_FILE``, else
``~/.wskprops``). The CLI's own default host has been gone for years, so a host has to be named.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlfn.errors import InvalidInput, NotAuthorised

__all__ = ["Access", "find_access"]


@dataclass(frozen=True, slots=True)
class Access:
    """An API host (with scheme), a credential, and whether its certificate is checked."""

    host: str
    auth: str = field(repr=False)
    insecure: bool = False


def find_access(host: str, insecure: bool, environ: Mapping[str, str] = os.environ) -> Access:
    """Return where to call and as whom. Raises InvalidInput without a host, NotAuthorised without a credential."""
    properties = _properties(environ)
    host = host or environ.get("WHISK_APIHOST", "") or properties.get("APIHOST", "")
    if not host:
        raise InvalidInput(
            "no OpenWhisk API host given",
            hints=(
                "mlfn deploy MODEL --platform openwhisk --apihost https://HOST",
                "or set WHISK_APIHOST, or APIHOST in ~/.wskprops",
                "a small one on this machine: mlfn openwhisk dev",
            ),
        )
    auth = environ.get("WHISK_AUTH", "") or properties.get("AUTH", "")
    if ":" not in auth:
        raise NotAuthorised(
            f"no credential for {host}: expected UUID:KEY",
            hints=("set WHISK_AUTH, or AUTH in ~/.wskprops; never on the command line, where others can read it",),
        )
    return Access(host if "://" in host else f"https://{host}", auth, insecure)


def _properties(environ: Mapping[str, str]) -> dict[str, str]:
    named = environ.get("WSK_CONFIG_FILE")
    path = Path(named) if named else Path(environ.get("HOME", "/")) / ".wskprops"
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}
