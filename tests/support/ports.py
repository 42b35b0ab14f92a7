"""Free ports of the loopback device, for servers and workers that a test starts."""

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """Returns so many ports that nobody listens at now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
