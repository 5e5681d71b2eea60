"""Print the server version that the gateway's API answers on 127.0.0.1:4002, with the standard library alone."""

import socket
import struct

with socket.create_connection(("127.0.0.1", 4002), timeout=5) as connection:
    request = b"v100..178"
    connection.sendall(b"API\0" + struct.pack(">I", len(request)) + request)
    (length,) = struct.unpack(">I", connection.recv(4, socket.MSG_WAITALL))
    print(connection.recv(length, socket.MSG_WAITALL).split(b"\0")[0].decode())  # noqa: T201 - its purpose
