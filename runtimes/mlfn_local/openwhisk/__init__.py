"""A small OpenWhisk on one machine, for trying actions without a cluster and as the test double of the real one."""

__all__: list[str] = []
