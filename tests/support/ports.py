"""Free ports of the loopback device, for servers and workers that a test starts."""

import contextlib
import random
import socket

# Below those that systems hand out to clients and to servers that ask for any: by the time that a
# worker listens, nobody else has got its port.
_PORTS = range(10_000, 32_768)


def free_ports(count: int) -> list[int]:
    """Returns so many ports that nobody listens at now, other ones each time."""
    ports: list[int] = []
    with contextlib.ExitStack() as stack:
        for port in random.SystemRandom().sample(_PORTS, 100 * count):
            taken = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                taken.bind(("127.0.0.1", port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise OSError(f"Of {100 * count} ports of the loopback device {len(ports)} are free.")
