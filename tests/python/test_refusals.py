"""What the device side refuses: with the right gRPC status, a stable word and number, and without harm to anybody."""

import grpc
import pytest

from clients import CALL_SECONDS, check_refused, message_id, refusal
from curl import curl
from gateway import SOON
from stubs import device_pb2

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture(autouse=True)
def others_are_served(gateway, devices, backend):
    """Another device, connected all the while, gets a push when the test is over."""
    witness = devices(user="witness").open()
    yield
    id = backend.push("witness", b"still served").id
    assert message_id(witness.push()) == id
    gateway.assert_ready()


def check_open_refused(client, status, code, errno, **fields):
    """Open must be refused with this."""
    ended = client.start(**fields).ended()
    got = (ended.status, ended.trailers.get("pushline-code"), ended.trailers.get("pushline-errno"))
    assert got == (status, code, str(errno)), (got, ended.words)
    assert ended.words


def test_tokens_that_are_none(gateways, gateway, devices):
    """No token, garbage, a cut one, one with another body, another gateway's."""
    good = gateway.token("ada", "phone")
    head, body, signature = good.split(".")
    other_body = gateway.token("bob", "phone").split(".")[1]
    stranger = gateways("stranger").token("ada", "phone")
    check_open_refused(devices(), UNAUTHENTICATED, "missing_credentials", 201, token="")
    for token in ("garbage", "a.b.c", good[:-4], f"{head}.{other_body}.{signature}", f"{head}.{body}.", stranger,
                  gateway.api_key, good + "x" * 5000):
        check_open_refused(devices(), UNAUTHENTICATED, "invalid_credentials", 202, token=token)


def test_a_token_speaks_for_its_own_device_only(gateway, devices):
    """The device that the request names must be the token's."""
    check_open_refused(devices(), grpc.StatusCode.PERMISSION_DENIED, "forbidden", 204, device="tablet")
    devices().open(device="phone")


def test_a_token_may_travel_as_metadata(gateway, device):
    """`authorization: Bearer`, as stock clients do it; a token in the message goes first."""
    metadata = (("authorization", f"Bearer {device.token}"),)
    call = device.stub.Open(device_pb2.OpenRequest(), metadata=metadata, timeout=SOON)
    assert next(iter(call)).WhichOneof("frame") == "welcome"
    call.cancel()


def test_bad_names_and_options_of_open(devices):
    """Refused before a session exists; the same connection may try again."""
    device = devices()
    check_open_refused(device, INVALID, "invalid_name", 103, device="a/b")
    check_open_refused(device, INVALID, "invalid_option", 104, agent="x" * 65)
    check_open_refused(device, INVALID, "invalid_option", 104, urgency_floor=9)
    device.open()


def test_p1_6_nothing_goes_before_open(device):
    """`no_session` for each short call, and Open still works afterwards on the same connection."""
    for call in (
        lambda: device.ack(1),
        lambda: device.subscribe("news"),
        lambda: device.unsubscribe("news"),
        lambda: device.update(window=3),
    ):
        check_refused(call, FAILED_PRECONDITION, "no_session", 301)
    device.open()
    assert device.subscribe("news") == 1


def test_p1_2_one_connection_is_one_session(devices, backend):
    """A second Open on the connection is refused, with its own token as with another's; the first goes on."""
    device, other = devices(), devices(user="bob")
    device.open()
    for token in (device.token, other.token):
        call = device.stub.Open(device_pb2.OpenRequest(token=token), timeout=SOON)
        check_refused(lambda: next(iter(call)), FAILED_PRECONDITION, "session_exists", 302)
    id = backend.push("ada", b"on the first").id
    assert message_id(device.push()) == id


def test_methods_that_do_not_exist(device):
    """UNIMPLEMENTED, before and after Open, also for other services."""
    paths = ["/pushline.v1.Device/Nothing", "/pushline.v1.Backend/Push", "/grpc.health.v1.Health/Check", "/x"]
    for opened in (False, True):
        for path in paths:
            call = device.channel.unary_unary(path)
            check_refused(lambda: call(b"", timeout=SOON), grpc.StatusCode.UNIMPLEMENTED, "unknown_method", 112)
        if not opened:
            device.open()
    assert device.call.is_active()


def test_compressed_requests(device):
    """This gateway takes `identity` only, as the gRPC specification allows: UNIMPLEMENTED."""
    refused = (grpc.StatusCode.UNIMPLEMENTED, "unsupported_encoding", 110)
    request = device_pb2.SubscribeRequest(topics=["news"] * 100)
    device.open()
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        check_refused(
            lambda: device.stub.Subscribe(request, compression=compression, timeout=SOON), *refused
        )
    assert device.subscribe("news") == 1, "none of it was applied"


def test_requests_that_are_too_large(device):
    """Over the limit: refused with words. Far over it: the stream is reset. The session goes on in both cases."""
    device.open()
    check_refused(lambda: device.ack(1, session="x" * 65_536), EXHAUSTED, "request_too_large", 109)
    check_refused(lambda: device.ack(1, session="x" * 300_000), EXHAUSTED, "request_too_large", 109)
    far = refusal(lambda: device.ack(1, session="x" * 2_000_000))
    assert far.status == EXHAUSTED, far
    assert device.subscribe("news") == 1
    assert device.call.is_active()


def test_messages_that_are_no_protobuf(device):
    """`malformed`, for each method."""
    for method in ("Open", "Ack", "Subscribe", "Unsubscribe", "Update"):
        if method == "Ack":
            device.open()
        call = device.channel.unary_unary(f"/pushline.v1.Device/{method}")
        check_refused(lambda: call(b"\xff\xff\xff", timeout=SOON), INVALID, "malformed", 101)
    assert device.call.is_active()


@pytest.mark.settings(store__subscriptions_per_device_max=5)
def test_topics_too_many_or_with_bad_names(devices, backend):
    """Limits of one call and of a device: refused whole, none of the request is added."""
    device = devices().open()
    check_refused(lambda: device.subscribe(*(f"t{n}" for n in range(6))), EXHAUSTED, "too_many_subscriptions", 404)
    assert device.subscribe("t1", "t2", "t3", "t4") == 4
    check_refused(lambda: device.subscribe("t5", "t6"), EXHAUSTED, "too_many_subscriptions", 404)
    assert device.subscribe("t1", "t5") == 5, "the refused call added neither t5 nor t6"
    for call in (device.subscribe, device.unsubscribe):
        check_refused(lambda: call(), INVALID, "invalid_option", 104)
        check_refused(lambda: call(*["t1"] * 101), INVALID, "invalid_option", 104)
        for name in ("", "a/b", "a b", "\u00e9", "x" * 129):
            check_refused(lambda: call("t1", name), INVALID, "invalid_name", 103)
    assert device.unsubscribe("unknown") == 5, "none of the refused calls took one away"


def test_unknown_urgencies_in_an_update(device):
    """`invalid_option`, and nothing changes."""
    device.open(window=7)
    check_refused(lambda: device.update(urgency_floor=9, window=3), INVALID, "invalid_option", 104)
    assert device.update().window == 7
    assert device.update(window=10**6).window == 1024, "bounded by the server's limit"


@pytest.mark.settings(store__devices_per_user_max=2)
def test_more_devices_than_a_user_may_have(devices):
    """Known devices stay welcome."""
    devices().open().close()
    devices(device="tablet").open().close()
    check_open_refused(devices(device="watch"), EXHAUSTED, "too_many_devices", 403)
    devices().open()


@pytest.mark.settings(limits__connections_per_user_max=1, limits__connections_max=3)
def test_more_connections_than_allowed(devices):
    """Of one user, and in all; a takeover of one's own place is no new connection."""
    device = devices().open()
    check_open_refused(devices(device="tablet"), EXHAUSTED, "too_many_user_connections", 402)
    devices(user="bob").open()
    check_open_refused(devices(user="eve"), EXHAUSTED, "too_many_connections", 401)
    devices().open()
    assert device.frame().close.name == "taken_over"


def test_more_streams_than_allowed_wait_their_turn(device):
    """A stock client keeps to SETTINGS_MAX_CONCURRENT_STREAMS (32 by default, the push stream among them)."""
    device.open()
    calls = [device.stub.Update.future(device_pb2.UpdateRequest(), timeout=CALL_SECONDS) for _ in range(300)]
    assert all(call.result().window == 64 for call in calls)


def call_with_curl(gateway, path, *arguments, data=b"\0\0\0\0\0"):
    """A request to the device side with headers of one's own."""
    url = f"https://{gateway.devices}{path}"
    return curl("--http2", "--cacert", str(gateway.ca), *arguments, url, data=data)


def test_other_media_types(gateway):
    """HTTP status 415, as the gRPC specification asks."""
    for media in ("application/json", "text/plain", "application/grpc-web", "application/grpc+json", ""):
        header = f"content-type: {media}" if media else "content-type;"
        answer = call_with_curl(gateway, "/pushline.v1.Device/Open", "-H", header)
        assert answer.status == 415, (media, answer)
        assert (answer.headers["pushline-code"], answer.headers["pushline-errno"]) == ("unsupported_media_type", "111")
        assert answer.headers["grpc-status"] == "3"


def test_other_http_methods(gateway):
    """gRPC is POST."""
    answer = call_with_curl(gateway, "/pushline.v1.Device/Open", "-H", "content-type: application/grpc", "-X", "PUT")
    assert (answer.headers["grpc-status"], answer.headers["pushline-code"]) == ("12", "method_not_allowed"), answer


def test_a_compressed_request_is_told_what_is_taken(gateway):
    """gRPC's compression document: the refusal names the encodings that the server accepts."""
    grpc_headers = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-H", "grpc-encoding: gzip"]
    answer = call_with_curl(gateway, "/pushline.v1.Device/Open", *grpc_headers, data=b"\x01\0\0\0\x01x")
    assert (answer.headers["grpc-status"], answer.headers["pushline-code"]) == ("12", "unsupported_encoding"), answer
    assert answer.headers.get("grpc-accept-encoding") == "identity", answer

    url = f"{gateway.backend_url}/pushline.v1.Backend/Push"
    grpc_headers += ["-H", f"authorization: Bearer {gateway.api_key}"]
    answer = curl("--http2-prior-knowledge", *grpc_headers, url, data=b"\x01\0\0\0\x01x")
    assert (answer.headers["grpc-status"], answer.headers["pushline-code"]) == ("12", "unsupported_encoding"), answer
    assert answer.headers.get("grpc-accept-encoding") == "identity", answer


def test_bodies_that_are_not_one_message(gateway):
    """Two, cut, and a flag that does not exist. (None at all is an `Open` that wishes for nothing.)"""
    for body in (b"\0\0\0", b"\0\0\0\0\5ab", b"\0\0\0\0\0" * 2, b"\7\0\0\0\0"):
        answer = call_with_curl(
            gateway, "/pushline.v1.Device/Open", "-H", "content-type: application/grpc", data=body
        )
        assert (answer.status, answer.headers["grpc-status"]) == (200, "3"), answer
        assert (answer.headers["pushline-code"], answer.headers["pushline-errno"]) == ("malformed", "101")
