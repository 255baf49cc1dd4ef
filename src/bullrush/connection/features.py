"""What the installed redis-py takes: its majors from 5.3.1 to 8 differ in the arguments of a connection."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import metadata
from inspect import signature
from typing import cast


@cache
def parameters(factory: Callable[..., object]) -> frozenset[str]:
    """The arguments of a connection class, those it hands on to its bases included."""
    inits = [vars(cls).get("__init__") for cls in cast("type", factory).__mro__]
    return frozenset(name for init in inits if callable(init) for name in signature(init).parameters)


def redis_py_version() -> str:
    """The version of redis-py, for messages."""
    return metadata.version("redis")


@cache
def _own_version() -> str:
    try:
        return metadata.version("bullrush")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "0"


def introduction(known: frozenset[str]) -> dict[str, object]:
    """The arguments that make CLIENT LIST show ``redis-py(bullrush_v…)``, in all versions alike."""
    if "driver_info" in known:
        from redis.driver_info import DriverInfo

        return {"driver_info": DriverInfo().add_upstream_driver("bullrush", _own_version())}
    if "lib_name" in known:
        return {"lib_name": f"redis-py(bullrush_v{_own_version()})"}
    return {}


def without_maintenance(known: frozenset[str]) -> dict[str, object]:
    """The arguments that turn maintenance notifications off: they would arrive between our replies."""
    if "maint_notifications_config" not in known:
        return {}
    from redis.maint_notifications import MaintNotificationsConfig

    return {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}
