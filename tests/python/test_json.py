"""The HTTP/JSON side with curl: each endpoint, its statuses and headers, and the one shape of all errors."""

import base64
import json
import time

import grpc
import pytest

from clients import Backend, Device, message_id
from curl import curl
from gateway import SOON
from stubs import backend_pb2, device_pb2

NDJSON = "application/x-ndjson"


class Json:
    """A backend that is a shell script."""

    def __init__(self, gateway, key=None):
        self.url = gateway.backend_url
        self.key = gateway.api_key if key is None else key

    def call(self, path, *arguments, data=None, media="application/json"):
        """Calls with the key; a body that is no bytes is written as JSON."""
        if data is not None:
            data = data if isinstance(data, bytes) else json.dumps(data).encode()
            arguments = ("-H", f"content-type: {media}", *arguments)
        key = ("-H", f"authorization: Bearer {self.key}") if self.key else ()
        return curl(*key, *arguments, self.url + path, data=data)

    def push(self, target, *arguments, **fields):
        """POST /v1/push."""
        return self.call("/v1/push", *arguments, data={"target": target, **fields})

    def message(self, id):
        """GET /v1/messages/ID."""
        return self.call(f"/v1/messages/{id}")


@pytest.fixture
def api(gateway):
    return Json(gateway)


def check_error(answer, code, errno, error):
    """The shape of all errors: HTTP status, number, word, and words for humans."""
    assert answer.status == code, answer
    body = answer.json()
    # What passes by itself says when to come again.
    waits = ["retry_after_ms"] if "retry_after_ms" in body else []
    assert sorted(body) == ["code", "errno", "error", "message", *waits]
    assert (body["code"], body["errno"], body["error"]) == (code, errno, error), body
    assert body["message"]


def test_p5_8_a_push_is_created_delivered_and_looked_up(api, device, backend):
    """POST /v1/push: 201 with a Location; what gRPC and JSON tell of a message is the same."""
    device.open()
    answer = api.push(
        {"user": "ada"},
        payload="h\u00e9llo",
        attributes={"a": "b"},
        ttl=600,
        urgency="high",
        collapse_key="k",
        durability="relaxed",
    )
    assert answer.status == 201, answer
    made = answer.json()
    assert (made["log"], made["offset"], made["duplicate"], made["online"]) == ("inbox/ada", 1, False, 0)
    assert made["expires_at_ms"] - made["accepted_at_ms"] == 600_000
    assert answer.headers["location"] == f"/v1/messages/{made['id']}"
    push = device.push()
    assert (message_id(push), push.payload) == (made["id"], "h\u00e9llo".encode())
    assert (push.content_type, push.urgency) == ("text/plain; charset=utf-8", device_pb2.URGENCY_HIGH)

    known = api.call(answer.headers["location"]).json()
    assert known["devices"] == [{"user": "ada", "device": "phone", "state": "waiting", "attempts": 0}]
    assert known["content"] == {
        "target": {"user": "ada"},
        "content_type": "text/plain; charset=utf-8",
        "attributes": {"a": "b"},
        "urgency": "high",
        "collapse_key": "k",
        "payload": "h\u00e9llo",
        "replaces": None,
    }
    twin = backend.message(made["id"])
    assert known["state"] == "stored" and twin.state == backend_pb2.GetMessageResponse.STATE_STORED
    assert (known["id"], known["log"], known["offset"]) == (twin.id, twin.log, twin.offset)
    assert (int(known["epoch"]), known["accepted_at_ms"]) == (twin.epoch, twin.accepted_at_ms)

    device.reject(push, "no room")
    (outcome,) = api.message(made["id"]).json()["devices"]
    assert (outcome["state"], outcome["reason"], outcome["attempts"]) == ("dead", "no room", 1)
    assert outcome["at_ms"] >= made["accepted_at_ms"]


def test_the_forms_of_a_payload(api, device):
    """Text, base64 and JSON, each with its media type unless another is named; JSON goes through as it was written."""
    device.open()
    number = b'{"n": 1.10, "big": 12345678901234567890}'
    raw = b'{"target": {"user": "ada"}, "payload_json": ' + number + b"}"
    assert api.call("/v1/push", data=raw).status == 201
    api.push({"user": "ada"}, payload_base64=base64.b64encode(b"\x00\xff").decode())
    api.push({"user": "ada"}, payload="x", content_type="text/markdown")
    api.push({"user": "ada"})
    got = [(push.payload, push.content_type) for push in device.pushes(4)]
    assert got == [
        (number, "application/json"),
        (b"\x00\xff", "application/octet-stream"),
        (b"x", "text/markdown"),
        (b"", "application/octet-stream"),
    ]


def test_the_forms_of_a_target(api, devices):
    """User, device, topic."""
    phone, tablet = devices().open(), devices(device="tablet").open()
    phone.subscribe("news")
    assert api.push({"user": "ada", "device": "tablet"}, payload="1").json()["log"] == "inbox/ada"
    assert api.push({"topic": "news"}, payload="2").json()["log"] == "topic/news"
    assert (tablet.push().payload, phone.push().payload) == (b"1", b"2")


def test_online_only_pushes_are_202(api, device):
    """Nothing is stored and nothing promised; the answer tells how many were there."""
    answer = api.push({"user": "ada"}, durability="none")
    assert (answer.status, answer.json()["online"], answer.json()["log"]) == (202, 0, None)
    assert "location" not in answer.headers
    device.open()
    answer = api.push({"user": "ada"}, ttl=0, payload="now")
    assert (answer.status, answer.json()["online"]) == (202, 1)
    assert device.push().payload == b"now"


def test_idempotency_keys_in_body_and_header(api, backend):
    """The first answer is 201, a repeat 200 with the same message, another content 409; gRPC shares the keys."""
    first = api.push({"user": "ada"}, payload="x", idempotency_key="k")
    again = api.push({"user": "ada"}, "-H", "Idempotency-Key: k", payload="x")
    assert (first.status, again.status) == (201, 200)
    assert again.json() == {**first.json(), "duplicate": True}
    check_error(api.push({"user": "bob"}, payload="x", idempotency_key="k"), 409, 304, "idempotency_conflict")
    two = api.push({"user": "ada"}, "-H", "Idempotency-Key: a", payload="x", idempotency_key="b")
    check_error(two, 400, 104, "invalid_option")
    twin = backend.push("ada", b"x", content_type="text/plain; charset=utf-8", idempotency_key="k")
    assert twin.duplicate and twin.id == first.json()["id"]


def test_a_stream_of_lines_is_answered_line_by_line(api, device):
    """POST /v1/push/stream: answers in the order of the lines, a bad line does not end it, blank lines do not count."""
    lines = [
        b'{"reference": 9, "target": {"user": "ada"}, "payload": "1"}',
        b"",
        b'{"reference": 8, "target": {"user": "a/b"}}',
        b"no json",
        b'{"target": {"user": "ada"}, "payload": "2"}',
    ]
    answer = api.call("/v1/push/stream", data=b"\n".join(lines), media=NDJSON)
    assert answer.status == 200
    first, second, third, fourth = answer.lines()
    assert (first["reference"], first["accepted"]["offset"]) == (9, 1)
    assert (second["reference"], second["error"]["error"], second["error"]["errno"]) == (8, "invalid_name", 103)
    assert third["error"]["error"] == "malformed" and "line 4" in third["error"]["message"]
    assert (fourth.get("reference"), fourth["accepted"]["offset"]) == (None, 2)
    assert device.open().payloads(2) == [b"1", b"2"]


def test_5000_lines(api, device):
    """Volume: one request, answers and deliveries in order."""
    count = 5000
    lines = b"\n".join(b'{"reference":%d,"target":{"user":"ada"},"payload":"%d"}' % (n, n) for n in range(count))
    answers = api.call("/v1/push/stream", data=lines, media=NDJSON).lines()
    assert [answer["reference"] for answer in answers] == list(range(count))
    assert [answer["accepted"]["offset"] for answer in answers] == list(range(1, count + 1))
    device.open(window=1024)
    assert device.payloads(1024) == [b"%d" % n for n in range(1024)]


BAD = [
    (b"", 400, 101, "malformed"),
    (b"[]", 400, 101, "malformed"),
    (b"\xff", 400, 101, "malformed"),
    (b'{"target": {"user": "ada"}} x', 400, 101, "malformed"),
    (b'{"target": {"user": "ada"}, "paylod": "x"}', 400, 101, "malformed"),
    (b'{"target": {"user": "ada"}, "payload": 5}', 400, 101, "malformed"),
    (b'{"target": {"user": "ada"}, "payload": "x", "payload_json": 1}', 400, 101, "malformed"),
    (b'{"target": {"user": "ada"}, "payload_base64": "?"}', 400, 101, "malformed"),
    (b"[" * 100_000, 400, 101, "malformed"),
    (b"{}", 400, 102, "invalid_target"),
    (b'{"target": {}}', 400, 102, "invalid_target"),
    (b'{"target": {"device": "d"}}', 400, 102, "invalid_target"),
    (b'{"target": {"user": "ada", "topic": "t"}}', 400, 102, "invalid_target"),
    (b'{"target": {"user": ""}}', 400, 103, "invalid_name"),
    (b'{"target": {"topic": "a/b"}}', 400, 103, "invalid_name"),
    (b'{"target": {"user": "ada"}, "ttl": -1}', 400, 104, "invalid_option"),
    (b'{"target": {"user": "ada"}, "ttl": 1.5}', 400, 104, "invalid_option"),
    (b'{"target": {"user": "ada"}, "urgency": "hihg"}', 400, 104, "invalid_option"),
    (b'{"target": {"user": "ada"}, "durability": "some"}', 400, 104, "invalid_option"),
    (b'{"target": {"user": "ada"}, "content_type": "a\\nb"}', 400, 104, "invalid_option"),
    (b'{"target": {"user": "ada"}, "attributes": {"a b": ""}}', 400, 105, "invalid_attributes"),
    (b'{"target": {"user": "ada"}, "payload": "' + b"x" * 65_537 + b'"}', 413, 106, "payload_too_large"),
    (b'{"target": {"user": "ada"}, "payload": "' + b"x" * 1_000_000 + b'"}', 413, 109, "request_too_large"),
]


def test_bad_pushes_have_their_errors_and_store_nothing(gateway, api):
    """P1.16: each with its status, number and word."""
    for data, code, errno, error in BAD:
        try:
            check_error(api.call("/v1/push", data=data), code, errno, error)
        except AssertionError as wrong:
            raise AssertionError(f"{data[:80]!r}: {wrong}") from None
    assert api.push({"user": "ada"}).json()["offset"] == 1
    gateway.assert_ready()


def test_requests_that_fit_no_method(api):
    """Paths, methods, media types and encodings that are not there."""
    check_error(api.call("/v1/nothing"), 404, 112, "unknown_method")
    check_error(api.call("/v1/push/", data={}), 404, 112, "unknown_method")
    wrong_method = api.call("/v1/push")
    check_error(wrong_method, 405, 113, "method_not_allowed")
    assert wrong_method.headers["allow"] == "POST"
    check_error(api.call("/v1/messages/x", data={}), 405, 113, "method_not_allowed")
    for path in ("/v1/push", "/v1/push/stream"):
        check_error(api.call(path, data=b"x", media="text/plain"), 415, 111, "unsupported_media_type")
    compressed = api.call("/v1/push", "-H", "content-encoding: gzip", data=b"\x1f\x8b")
    check_error(compressed, 415, 110, "unsupported_encoding")
    check_error(curl(api.url + "/pushline.v1.Backend/Push", data=b""), 415, 111, "unsupported_media_type")


def test_messages_that_are_not_known(gateway, api):
    """Unknown ids are 404; what is no id is 400, even when it is no text at all."""
    check_error(api.message("01890000-0000-7000-8000-000000000000"), 404, 305, "message_not_found")
    for id in ("x", "01890000", "%ff", "%00"):
        check_error(api.message(id), 400, 101, "malformed")
    check_error(Json(gateway, key="").message("%ff"), 401, 201, "missing_credentials")


def test_keys_are_checked_on_each_endpoint(gateway, api):
    """401 with WWW-Authenticate; probes need no key."""
    wrong = ["", "x" * 40, gateway.token("ada", "phone")]
    for key in wrong:
        stranger = Json(gateway, key=key)
        errno, error = (202, "invalid_credentials") if key else (201, "missing_credentials")
        for answer in (
            stranger.push({"user": "ada"}),
            stranger.call("/v1/push/stream", data=b"", media=NDJSON),
            stranger.message("01890000-0000-7000-8000-000000000000"),
        ):
            check_error(answer, 401, errno, error)
            assert answer.headers["www-authenticate"].startswith("Bearer")
    basic = curl("-u", f"x:{gateway.api_key}", api.url + "/v1/push", "-H", "content-type: application/json", data=b"{}")
    check_error(basic, 401, 202, "invalid_credentials")


def test_a_full_inbox_says_when_to_come_back(gateways):
    """429 with Retry-After."""
    gateway = gateways(store__inbox_entries_max=1)
    api = Json(gateway)
    api.push({"user": "ada"})
    answer = api.push({"user": "ada"})
    check_error(answer, 429, 405, "log_full")
    assert int(answer.headers["retry-after"]) > 0


def test_probes_and_metrics(gateway, api, device, backend):
    """/healthz, /readyz and /metrics, without a key."""
    health = curl(api.url + "/healthz")
    assert (health.status, health.body) == (200, b"ok\n")
    ready = curl(api.url + "/readyz")
    assert ready.status == 200 and ready.json()["ready"] is True and ready.json()["append_read_ms"] >= 0
    device.open()
    backend.push("ada", b"x")
    device.ack_push(device.push())
    backend.push("ada", b"y", durability=backend_pb2.DURABILITY_NONE)
    api.push({"user": "a/b"})
    metrics = curl(api.url + "/metrics")
    assert metrics.status == 200
    for name, value in [
        ("pushline_connections", 1),
        ("pushline_sessions", 1),
        ('pushline_pushes_total{outcome="accepted"}', 1),
        ('pushline_pushes_total{outcome="online"}', 1),
        ('pushline_pushes_refused_total{code="invalid_name"}', 1),
        ("pushline_acks_total", 1),
        ('pushline_sessions_opened_total{resume="new"}', 1),
    ]:
        assert gateway.metric(name) == value, name


def test_readyz_says_no_while_draining(gateways):
    """A load balancer sees it before the listener is gone."""
    gateway = gateways(drain__spread="2s", drain__bound="10s")
    device = Device(gateway).open()
    gateway.terminate()
    assert device.frame().WhichOneof("frame") == "move"
    status, body = gateway.get("/readyz")
    assert (status, json.loads(body)["error"], json.loads(body)["ready"]) == (503, "draining", False)
    check_error(Json(gateway).push({"user": "ada"}), 503, 502, "draining")
    device.close()
    assert gateway.process.wait(SOON) == 0


def test_the_backend_side_over_tls(gateways):
    """tls.backend: curl and grpcio with the development CA; plain HTTP is cut."""
    gateway = gateways(tls__backend="true")
    assert gateway.backend_url.startswith("https://")
    trust = ("--cacert", str(gateway.ca))
    body = b'{"target": {"user": "ada"}}'
    for version in ("--http1.1", "--http2"):
        key = ("-H", f"authorization: Bearer {gateway.api_key}", "-H", "content-type: application/json")
        assert curl(*trust, version, *key, gateway.backend_url + "/v1/push", data=body).status == 201
    credentials = grpc.ssl_channel_credentials(gateway.ca.read_bytes())
    channel = grpc.secure_channel(gateway.backend, credentials, [("grpc.enable_http_proxy", 0)])
    backend = Backend(gateway)
    backend.stub = type(backend.stub)(channel)
    assert backend.push("ada").offset == 3
    channel.close()
    plain = gateway.connect_backend()
    plain.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    said = b""
    try:
        while piece := plain.recv(4096):
            said += piece
    except ConnectionError:
        pass
    assert b"200" not in said
    plain.close()


def test_a_body_that_never_ends_is_refused(gateway):
    """Thirty seconds for the body of a push; others are served in the meantime."""
    connection = gateway.connect_backend()
    connection.settimeout(40)
    begun = time.monotonic()
    head = "POST /v1/push HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n"
    connection.sendall(f"{head}authorization: Bearer {gateway.api_key}\r\n\r\n{{".encode())
    said = connection.recv(65536)
    assert 25 < time.monotonic() - begun < 40
    assert said.startswith(b"HTTP/1.1 400") and b'"malformed"' in said
    connection.close()
