"""What `warm` has started in a command's place: it imports next to nothing, so it starts at once.

`python relay.py SERVER WORDS...` hands its streams, folder, variables and the words to the server
and signals to the fork that runs them, and stops and ends as that does.
"""

import json
import os
import signal
import socket
import sys

name, *words = sys.argv[1:]
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect(f"\0{name}")
    start = {"words": words, "folder": os.getcwd(), "variables": dict(os.environ)}  # noqa: PTH109
    socket.send_fds(server, [json.dumps(start).encode()], [0, 1, 2])
    for handled in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(handled, lambda number, _: server.sendall(bytes([number])))
    while message := server.recv(4):
        status = int.from_bytes(message, "little")
        if os.WIFSTOPPED(status):
            os.kill(os.getpid(), signal.SIGSTOP)
        elif os.WIFSIGNALED(status):
            if os.WTERMSIG(status) != signal.SIGKILL:
                signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
            os.kill(os.getpid(), os.WTERMSIG(status))
        else:
            os._exit(os.WEXITSTATUS(status))
sys.exit("The server of warm processes is gone.")
