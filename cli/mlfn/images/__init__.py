"""Images of functions: built without a daemon, named by digest, sent to registries.

Sibling of ``mlfn.models`` and ``mlfn.platforms``: it knows neither. Cheap to import.
"""

__all__: list[str] = []
