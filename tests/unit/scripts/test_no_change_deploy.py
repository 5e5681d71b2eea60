"""The parts of the measurement of a deploy that changes nothing."""

from __future__ import annotations

import socket
import threading

from bench.delaying_proxy import delaying_proxy
from bench.no_change_deploy import PING, RECAP, Row, table


def test_the_proxy_passes_everything_on_and_ends_with_its_connections() -> None:
    sent = bytes(range(256)) * 4096
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo() -> None:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

        def send(client: socket.socket) -> None:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=echo)
        thread.start()
        with delaying_proxy(server.getsockname()[1], 0.02) as port:
            with socket.create_connection(("127.0.0.1", port)) as client:
                sender = threading.Thread(target=send, args=(client,))
                sender.start()
                received = b""
                while data := client.recv(65536):
                    received += data
                sender.join()
            thread.join()
    assert received == sent


def test_the_table_has_the_ratios_of_the_medians() -> None:
    rows = [
        Row(PING, 0.08, [2.0], [1.0]),
        Row("abc", 0.08, [80.0, 90.0, 10.0], [9.0] * 3, 135),
        Row("here", 0.08, [20.0], [4.0], 60),
    ]
    assert table(rows)[2:] == [
        "| + 80 ms | ansible -m ping | 2.0 | 2.0 | 1.0 |  |  | 1.0 |",
        "| + 80 ms | abc | 80.0 | 80.0, 90.0, 10.0 | 9.0 | 135 | 1.00 | 40.0 |",
        "| + 80 ms | here | 20.0 | 20.0 | 4.0 | 60 | 0.25 | 10.0 |",
    ]


def test_the_recap_is_read() -> None:
    recap = "sandbox                    : ok=91   changed=2    unreachable=0    failed=0    skipped=44   rescued=0\n"
    found = RECAP.search(f"PLAY RECAP ***\nlocalhost : ok=1 changed=0 unreachable=0 failed=0 skipped=9\n{recap}")
    assert found is not None
    assert found.groups() == ("91", "2", "0", "0", "44")
