"""Functions as OpenWhisk actions, through `wsk` and the REST API beneath it."""

from mlfn.platforms.openwhisk.platform import connect

__all__ = ["connect"]
