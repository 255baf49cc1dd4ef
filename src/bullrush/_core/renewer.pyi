"""Renew a lease from a thread that never needs the interpreter's lock."""

from socket import socket

class Renewer:
    """The thread, as Python sees it. Nothing here blocks, or does anything after `stop` or in a forked child.

    Times are seconds of the monotonic clock. A renewal is sent when nobody has renewed for `interval`, unless
    the loop has not turned for `hang_limit`; its answer has to come within `reply_limit`.
    """

    def __init__(self, *, interval: float, reply_limit: float, hang_limit: float) -> None: ...
    def attach(self, plug: socket) -> None:
        """Take over a socket that is connected and logged in; refused (and closed) while there is one."""

    @property
    def attached(self) -> bool:
        """Say whether it has a socket that works as far as it knows."""

    def use(self, frame: bytes, renewed_at: float) -> None:
        """Send this from now on; the lease that it renews was renewed at that time."""

    def tick(self, heartbeat: float, renewed_at: float) -> None:
        """Note when the loop turned, and when the lease was renewed by others."""

    @property
    def renewed_at(self) -> float:
        """When the last renewal that was acknowledged was sent; 0: none."""

    @property
    def renewals(self) -> int:
        """How many renewals were acknowledged."""

    def take_lost(self) -> bool:
        """Say, once, whether the server said that others have the jobs."""

    def take_hung(self) -> float:
        """Return, once, for how long (s) the loop had not turned when a renewal was left out; 0: none was."""

    def stop(self) -> None:
        """End the thread and close the socket."""
