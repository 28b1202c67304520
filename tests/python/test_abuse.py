"""Peers that do not speak the protocol, or abuse it: each is cut off in time, and others are served meanwhile."""

import random
import socket
import ssl
import struct
import time

import pytest

import rawhttp2 as http2
from clients import message_id
from gateway import SOON, eventually
from stubs import device_pb2


@pytest.fixture(autouse=True)
def others_are_served(gateway, devices, backend):
    """Another device, connected all the while, gets a push when the test is over; and nothing is left behind."""
    witness = devices(user="witness").open()
    yield
    id = backend.push("witness", b"still served").id
    assert message_id(witness.push()) == id
    gateway.assert_ready()
    assert devices(user="newcomer").open().welcome.session, "newcomers are taken"
    for device in devices.made:
        if device is not witness:
            device.close()
    eventually("only the witness is left", lambda: gateway.metric("pushline_connections") == 1)


def check_cut(connection, within, least=0.0):
    """The gateway must close this connection; returns all that it said before."""
    begun, said = time.monotonic(), b""
    connection.settimeout(within)
    try:
        while piece := connection.recv(65536):
            said += piece
    except (ConnectionError, ssl.SSLError):
        pass
    except TimeoutError:
        raise AssertionError(f"still open after {within} s, it said {said[:200]!r}") from None
    finally:
        connection.close()
    assert time.monotonic() - begun >= least
    return said


def test_plain_http_to_the_tls_port(gateway):
    """Cut at once: it is no TLS handshake."""
    for words in (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", http2.PREFACE + http2.frame(http2.SETTINGS), b"\0" * 1000):
        connection = gateway.connect()
        connection.sendall(words)
        said = check_cut(connection, within=5)
        assert b"HTTP" not in said


def test_tls_without_http2(gateway):
    """ALPN must agree on h2 (RFC 9113, section 3.2): other offers fail in the handshake, no offer is cut after it."""
    for protocols in (("http/1.1",), ("spdy/3.1", "h3")):
        with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
            gateway.connect_tls(*protocols)
    token = gateway.token("ada", "phone")
    silent = gateway.connect_tls()
    assert check_cut(silent, within=5) == b"", "even HTTP/2 is not spoken with a peer that did not ask for it"
    try:
        hopeful = http2.Connection(gateway.connect_tls()).greet()
        hopeful.open(token)
        assert check_cut(hopeful.socket, within=5) == b""
    except (ConnectionError, ssl.SSLError):
        pass
    assert gateway.metric('pushline_handshakes_failed_total{reason="protocol"}') == 2
    assert gateway.metric('pushline_handshakes_failed_total{reason="tls"}') == 2


@pytest.mark.filterwarnings("ignore:.*TLSv1_1 is deprecated")
def test_old_tls(gateway):
    """1.3 and 1.2 are spoken, nothing older."""

    def agrees(version) -> bool:
        context = ssl.create_default_context(cafile=str(gateway.ca))
        context.set_alpn_protocols(["h2"])
        # The client's own library must be willing, or the test would only test that.
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        try:
            with context.wrap_socket(gateway.connect(), server_hostname="localhost") as connection:
                return connection.selected_alpn_protocol() == "h2"
        except (ssl.SSLError, ConnectionError):
            return False

    versions = ssl.TLSVersion
    assert [agrees(each) for each in (versions.TLSv1_3, versions.TLSv1_2, versions.TLSv1_1)] == [True, True, False]


@pytest.mark.settings(limits__handshake_timeout="500ms")
def test_sockets_that_say_nothing(gateway):
    """A hundred silent connections, and one that sends its handshake byte by byte, are closed within the timeout."""
    silent = [gateway.connect() for _ in range(100)]
    slow = gateway.connect()
    slow.sendall(b"\x16\x03\x01")
    for connection in [*silent, slow]:
        check_cut(connection, within=5)
    eventually("counted", lambda: gateway.metric('pushline_handshakes_failed_total{reason="tls_timeout"}') == 101)


@pytest.mark.settings(limits__open_timeout="500ms")
def test_connections_without_open(gateway):
    """TLS alone, a preface alone, PINGs all the time, requests that are refused all the time: closed in time."""
    check_cut(gateway.connect_tls("h2"), within=5, least=0.3)
    greeted = http2.Connection(gateway.connect_tls("h2")).greet()
    check_cut(greeted.socket, within=5, least=0.3)

    busy = http2.Connection(gateway.connect_tls("h2")).greet()
    busy.socket.settimeout(5)
    begun, stream = time.monotonic(), 1
    with pytest.raises((EOFError, ConnectionError, ssl.SSLError)):
        while True:
            busy.send(http2.PING, 0, 0, b"12345678")
            busy.until(http2.PING)
            busy.send(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, stream, http2.call("Update"))
            busy.until(http2.HEADERS, stream)
            stream += 2
    assert 0.3 < time.monotonic() - begun < 5
    busy.socket.close()

    half = http2.Connection(gateway.connect_tls("h2")).greet()
    half.send(http2.HEADERS, http2.END_HEADERS, 1, http2.call("Open"))
    check_cut(half.socket, within=5, least=0.3)
    assert gateway.metric('pushline_handshakes_failed_total{reason="open_timeout"}') == 4


GARBAGE = {
    "no preface": b"GET / HTTP/1.1\r\n\r\n",
    "a wrong preface": b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + http2.frame(http2.SETTINGS),
    "noise": random.Random(1).randbytes(5000),
    "noise after the preface": http2.PREFACE + http2.frame(http2.SETTINGS) + random.Random(2).randbytes(5000),
    "a frame longer than agreed": http2.PREFACE + http2.frame(http2.SETTINGS) + http2.frame(0, 0, 1, b"x" * 20_000),
    "headers on stream 0": http2.PREFACE + http2.frame(http2.SETTINGS) + http2.frame(1, 5, 0, http2.call("Open")),
    "headers on an even stream": http2.PREFACE + http2.frame(http2.SETTINGS) + http2.frame(1, 5, 2, http2.call("Open")),
    "headers that are no HPACK": http2.PREFACE + http2.frame(http2.SETTINGS) + http2.frame(1, 5, 1, b"\xff" * 100),
    "data on an idle stream": http2.PREFACE + http2.frame(http2.SETTINGS) + http2.frame(0, 1, 1, b"x"),
    "a push promise": http2.PREFACE + http2.frame(http2.SETTINGS) + http2.frame(5, 4, 1, b"\0\0\0\2"),
    "a window update of 0": http2.PREFACE + http2.frame(http2.SETTINGS) + http2.frame(8, 0, 0, b"\0\0\0\0"),
    "settings of an odd size": http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, b"12345"),
    "a ping of 7 bytes": http2.PREFACE + http2.frame(http2.SETTINGS) + http2.frame(http2.PING, 0, 0, b"1234567"),
    "a lonely continuation": http2.PREFACE + http2.frame(http2.SETTINGS) + http2.frame(9, 4, 1, b"x"),
}


@pytest.mark.settings(limits__open_timeout="5s")
def test_http2_garbage(gateway):
    """What RFC 9113 calls a connection error ends the connection, and long before any timeout."""
    for what, words in GARBAGE.items():
        connection = gateway.connect_tls("h2")
        connection.sendall(words)
        try:
            said = check_cut(connection, within=3)
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from None
        assert b"grpc-status" not in said, what


def test_garbage_after_a_good_open(gateway):
    """The session ends as if the device were gone; what it had not acked is kept."""
    token = gateway.token("ada", "phone")
    for what, words in list(GARBAGE.items())[4:]:
        connection = http2.Connection(gateway.connect_tls("h2")).greet()
        connection.open(token)
        connection.socket.settimeout(SOON)
        connection.until(http2.DATA, 1)
        connection.socket.sendall(words.removeprefix(http2.PREFACE).removeprefix(http2.frame(http2.SETTINGS)))
        if what != "data on an idle stream":
            check_cut(connection.socket, within=3)
        connection.socket.close()


def test_thousands_of_headers(gateway):
    """More headers than allowed: that request is refused; a block without measure ends the connection."""
    few = [(f"x-{number}", "v" * 20) for number in range(300)]
    connection = http2.Connection(gateway.connect_tls("h2")).greet()
    connection.socket.settimeout(SOON)
    connection.open(gateway.token("ada", "phone"))
    connection.until(http2.DATA, 1)
    connection.send(http2.HEADERS, 5, 3, http2.call("Update", *few))
    assert connection.until(http2.HEADERS, 3)[1] & http2.END_STREAM
    connection.send(http2.HEADERS, http2.END_HEADERS, 5, http2.call("Update"))
    connection.send(http2.DATA, http2.END_STREAM, 5, http2.message(b""))
    assert connection.until(http2.DATA, 5)[3], "the session goes on"
    connection.socket.close()

    many = [(f"x-{number}", "v" * 20) for number in range(5000)]
    for opened in (False, True):
        connection = http2.Connection(gateway.connect_tls("h2")).greet()
        connection.socket.settimeout(SOON)
        if opened:
            connection.open(gateway.token("ada", "phone"))
            connection.until(http2.DATA, 1)
        block = http2.call("Update", *many)
        pieces = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
        try:
            connection.send(http2.HEADERS, http2.END_STREAM, 3, pieces[0])
            for piece in pieces[1:-1]:
                connection.send(http2.CONTINUATION, 0, 3, piece)
            connection.send(http2.CONTINUATION, http2.END_HEADERS, 3, pieces[-1])
            while True:
                kind, _, stream, _ = connection.read()
                if kind == http2.GOAWAY or (stream == 3 and kind in (http2.HEADERS, http2.RST_STREAM)):
                    break
        except (EOFError, ConnectionError, ssl.SSLError):
            pass
        connection.socket.close()


def test_an_endless_header_block(gateway):
    """CONTINUATION without end (CVE-2024-27316): the connection is ended, long before 100 MB."""
    connection = http2.Connection(gateway.connect_tls("h2")).greet()
    connection.socket.settimeout(SOON)
    piece = http2.header_block([("x", "y" * 200)] * 70)
    with pytest.raises((ConnectionError, ssl.SSLError)):
        connection.send(http2.HEADERS, http2.END_STREAM, 1, http2.call("Open"))
        for _ in range(100_000_000 // len(piece)):
            connection.send(http2.CONTINUATION, 0, 1, piece)
    connection.socket.close()


def test_floods_of_control_frames(gateway):
    """Rapid resets (CVE-2023-44487), SETTINGS, PINGs that are not read: ended, or served without harm to others."""
    reset = struct.pack(">I", 8)
    floods = {
        "resets": lambda n: http2.frame(http2.HEADERS, 5, 2 * n + 3, http2.call("Update"))
        + http2.frame(http2.RST_STREAM, 0, 2 * n + 3, reset),
        "settings": lambda n: http2.frame(http2.SETTINGS),
        "pings": lambda n: http2.frame(http2.PING, 0, 0, b"12345678"),
        "empty data": lambda n: http2.frame(http2.DATA, 0, 1),
        "priorities": lambda n: http2.frame(http2.PRIORITY, 0, 2 * n + 3, b"\0\0\0\0\0"),
    }
    for what, flood in floods.items():
        connection = http2.Connection(gateway.connect_tls("h2")).greet()
        if what == "empty data":
            connection.send(http2.HEADERS, http2.END_HEADERS, 1, http2.call("Open"))
        else:
            connection.open(gateway.token("ada", "phone"))
        connection.socket.settimeout(2)
        try:
            for batch in range(100):
                connection.socket.sendall(b"".join(flood(batch * 200 + n) for n in range(200)))
        except (OSError, ssl.SSLError):
            pass
        assert gateway.get("/healthz") == (200, "ok\n"), what
        connection.socket.close()


def test_half_sent_requests_do_not_hold_up_a_device(gateway, backend):
    """All streams of a connection stand open with half a request: its pushes arrive all the same."""
    connection = http2.Connection(gateway.connect_tls("h2")).greet()
    connection.socket.settimeout(SOON)
    connection.open(gateway.token("ada", "phone"))
    connection.until(http2.DATA, 1)
    for stream in range(3, 3 + 2 * 31, 2):
        connection.send(http2.HEADERS, http2.END_HEADERS, stream, http2.call("Ack"))
        connection.send(http2.DATA, 0, stream, b"\0\0\0")
    connection.send(http2.HEADERS, http2.END_HEADERS, 65, http2.call("Ack"))
    kind, _, _, payload = connection.until(http2.RST_STREAM, 65)
    assert struct.unpack(">I", payload)[0] == 7, "REFUSED_STREAM: it may be tried again"
    backend.push("ada", b"through the crowd")
    assert b"through the crowd" in connection.until(http2.DATA, 1)[3]
    connection.socket.close()


@pytest.mark.settings(
    session__heartbeat="1s", session__heartbeat_min="1s", session__heartbeat_timeout="500ms"
)
def test_p1_12_a_device_that_answers_no_ping_is_gone(gateway, devices, backend):
    """P1.12: the server beats after T2, and closes when no answer comes; what was in flight is delivered to the next
    connection."""
    connection = http2.Connection(gateway.connect_tls("h2")).greet()
    connection.socket.settimeout(SOON)
    connection.open(gateway.token("ada", "phone"))
    connection.until(http2.DATA, 1)
    id = backend.push("ada", b"unanswered").id
    assert b"unanswered" in connection.until(http2.DATA, 1)[3]
    begun = time.monotonic()
    kind, flags, _, _ = connection.until(http2.PING)
    assert not flags & http2.ACK, "P1.12: a heartbeat of the server"
    assert b"heartbeat_timeout" in connection.until(http2.DATA, 1)[3]
    assert time.monotonic() - begun < 5
    connection.socket.close()
    eventually("counted", lambda: gateway.metric('pushline_sessions_closed_total{reason="heartbeat_timeout"}') == 1)
    assert message_id(devices().open().push()) == id


def test_p1_8_p1_9_p1_10_flags_of_the_streams(gateway, backend):
    """P1.7 P1.8 P1.9 P1.10: every frame names its stream; Open is half-closed by the client and answered without
    END_STREAM, and so is each push; a short stream ends on both sides."""
    connection = http2.Connection(gateway.connect_tls("h2")).greet()
    connection.socket.settimeout(SOON)
    connection.open(gateway.token("ada", "phone"))
    kind, flags, stream, _ = connection.until(http2.HEADERS)
    assert (kind, stream, flags & http2.END_STREAM) == (http2.HEADERS, 1, 0)
    _, flags, stream, _ = connection.until(http2.DATA)
    assert (stream, flags & http2.END_STREAM) == (1, 0)
    backend.push("ada", b"a push")
    _, flags, stream, payload = connection.until(http2.DATA)
    assert (stream, flags & http2.END_STREAM) == (1, 0) and b"a push" in payload
    ack = device_pb2.AckRequest(acked=[device_pb2.SeqRange(**{"from": 1, "upto": 1})]).SerializeToString()
    connection.send(http2.HEADERS, http2.END_HEADERS, 3, http2.call("Ack"))
    connection.send(http2.DATA, http2.END_STREAM, 3, http2.message(ack))
    answer = []
    while not answer or not answer[-1][1] & http2.END_STREAM:
        got = connection.read()
        if got[2] == 3:
            answer.append(got)
    assert [got[0] for got in answer] == [http2.HEADERS, http2.DATA, http2.HEADERS]
    assert answer[1][3] == http2.message(device_pb2.AckResponse(settled=1).SerializeToString())
    connection.socket.close()


def test_slow_bodies_on_the_backend_side(gateway, backend):
    """Fifty requests whose bodies come byte by byte: backends that behave are answered at once."""
    head = (
        "POST /v1/push HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n"
        f"authorization: Bearer {gateway.api_key}\r\n\r\n"
    )
    crowd = [gateway.connect_backend() for _ in range(50)]
    for connection in crowd:
        connection.sendall(head.encode())
    for _ in range(5):
        for connection in crowd:
            connection.sendall(b" ")
        begun = time.monotonic()
        backend.push("ada", b"in between")
        assert time.monotonic() - begun < 2
    for connection in crowd:
        connection.close()


def test_requests_to_the_backend_side_that_are_not_http(gateway):
    """TLS to the plain port, noise, a bad request line, thousands of headers, a huge one: refused or cut."""
    many = "".join(f"x-{number}: v\r\n" for number in range(5000))
    for words in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
        random.Random(3).randbytes(5000),
        b"GET\r\n\r\n",
        f"GET /healthz HTTP/1.1\r\nhost: x\r\n{many}\r\n".encode(),
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: " + b"v" * 100_000 + b"\r\n\r\n",
        b"POST /v1/push HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/push HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        http2.PREFACE + b"\xff" * 500,
    ):
        connection = gateway.connect_backend()
        try:
            connection.sendall(words)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It was cut before it had said all.
        said = check_cut(connection, within=5)
        assert b"HTTP/1.1 200" not in said and b"HTTP/1.1 201" not in said, (words[:50], said)
