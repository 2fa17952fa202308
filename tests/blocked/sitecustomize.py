"""Put on PYTHONPATH by a test: in every Python process started, a socket reaches loopback only.

An attempt to reach anything else fails and is written to the file named by TUNESMITH_TEST_CALLS.
"""

import os
import socket
import sys
from pathlib import Path

LOOPBACK = ("127.", "localhost", "::1")
_connect = socket.socket.connect
_getaddrinfo = socket.getaddrinfo


def note(target):
    with Path(os.environ["TUNESMITH_TEST_CALLS"]).open("a") as file:
        file.write(f"{target} from {' '.join(sys.argv)}\n")


def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
        note(address)
        raise OSError("sockets are blocked in this test")
    return _connect(self, address)


def getaddrinfo(host, *rest, **more):
    if host is not None and not str(host).startswith(LOOPBACK):
        note(host)
        raise socket.gaierror("names are blocked in this test")
    return _getaddrinfo(host, *rest, **more)


socket.socket.connect = connect
socket.getaddrinfo = getaddrinfo
