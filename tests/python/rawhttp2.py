"""HTTP/2 frames written by hand (RFC 9113), for what no well-behaved client would send."""

import struct

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b"") -> bytes:
    """One frame, whether or not it makes sense."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _integer(value: int) -> bytes:
    """An HPACK integer with a prefix of 7 bits (RFC 7541, section 5.1)."""
    if value < 127:
        return bytes([value])
    out, value = [127], value - 127
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out + [value])


def header_block(pairs) -> bytes:
    """Headers as literals without Huffman coding, never indexed (RFC 7541, section 6.2.3)."""
    block = b""
    for name, value in pairs:
        name, value = name.encode(), value.encode()
        block += b"\x10" + _integer(len(name)) + name + _integer(len(value)) + value
    return block


def call(method, *more) -> bytes:
    """Headers of a call of the device service."""
    path = f"/pushline.v1.Device/{method}"
    pairs = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
    return header_block([*pairs, ("content-type", "application/grpc"), ("te", "trailers"), *more])


def message(body: bytes) -> bytes:
    """A gRPC message: not compressed, length, bytes."""
    return b"\0" + struct.pack(">I", len(body)) + body


class Connection:
    """A connection on which frames are sent as given."""

    def __init__(self, socket):
        self.socket = socket
        self.held = b""

    def greet(self) -> "Connection":
        """The client's preface."""
        self.socket.sendall(PREFACE + frame(SETTINGS))
        return self

    def send(self, *args, **kwargs):
        """Sends one frame."""
        self.socket.sendall(frame(*args, **kwargs))

    def open(self, token, body=b""):
        """Opens a session, as far as sending goes. The body is an encoded OpenRequest."""
        self.send(HEADERS, END_HEADERS, 1, call("Open", ("authorization", f"Bearer {token}")))
        self.send(DATA, END_STREAM, 1, message(body))

    def _take(self, count) -> bytes:
        while len(self.held) < count:
            piece = self.socket.recv(65536)
            if not piece:
                raise EOFError
            self.held += piece
        taken, self.held = self.held[:count], self.held[count:]
        return taken

    def read(self) -> tuple:
        """The next frame: kind, flags, stream, payload."""
        head = self._take(9)
        payload = self._take(int.from_bytes(head[:3], "big"))
        return head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFF_FFFF, payload

    def until(self, kind, stream=None) -> tuple:
        """The next frame of this kind; others are passed over."""
        while True:
            got = self.read()
            if got[0] == kind and stream in (None, got[2]):
                return got
