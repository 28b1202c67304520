"""A stock gRPC client as backend: pushes one by one and in streams, their options, and what became of them."""

import queue
import re
import uuid

import grpc
import pytest

from clients import Backend, Device, check_refused, message_id, refusal, request, topic
from gateway import SOON, eventually
from stubs import backend_pb2

STORED = backend_pb2.GetMessageResponse.STATE_STORED
EXPIRED = backend_pb2.GetMessageResponse.STATE_EXPIRED
REPLACED = backend_pb2.GetMessageResponse.STATE_REPLACED
TRIMMED = backend_pb2.GetMessageResponse.STATE_TRIMMED
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def test_the_answer_tells_id_log_and_place(backend):
    """P1.16, P5.8: the answer to a push names what was stored, and GetMessage finds it."""
    first, second = backend.push("ada", b"one"), backend.push("ada", b"two")
    other = backend.push(topic("news"), b"three")
    assert uuid.UUID(first.id).version == 7
    assert (first.log, first.offset, second.offset) == ("inbox/ada", 1, 2)
    assert (other.log, other.offset) == ("topic/news", 1)
    assert first.epoch == second.epoch and first.epoch > 0
    assert first.expires_at_ms - first.accepted_at_ms == 28 * 86_400_000, "the default, four weeks"
    assert not first.duplicate

    known = backend.message(first.id)
    assert (known.id, known.state, known.log, known.offset) == (first.id, STORED, "inbox/ada", 1)
    assert (known.epoch, known.accepted_at_ms) == (first.epoch, first.accepted_at_ms)
    assert (known.content.payload, known.content.target.user) == (b"one", "ada")
    assert known.content.content_type == "application/octet-stream"
    assert message_id(known.content) == first.id


def test_longer_lives_than_the_greatest_are_cut(backend):
    """Documented in the protocol: clamped, and the answer tells."""
    answer = backend.push("ada", b"", ttl_seconds=2**64 - 1)
    assert answer.expires_at_ms - answer.accepted_at_ms == 28 * 86_400_000


def test_a_stream_of_5000_pushes_is_answered_in_order_and_delivered_in_order(device, backend):
    """P1.3, P5.8: volume on one stream; answers in the order of the requests, deliveries in the order of the log."""
    count = 5000
    device.open(window=1024)
    answers = backend.stream(request("ada", b"%d" % number) for number in range(count))
    assert [answer.reference for answer in answers] == list(range(1, count + 1))
    assert [answer.accepted.offset for answer in answers] == list(range(1, count + 1))
    sent = [answer.accepted.id for answer in answers]
    assert len(set(sent)) == count
    received, unacked = [], []
    while len(received) < count:
        push = device.push()
        assert push.payload == b"%d" % len(received) and message_id(push) == sent[len(received)]
        received.append(push)
        unacked.append(push.seq)
        if len(unacked) == 256 or len(received) == count:
            assert device.ack((unacked[0], unacked[-1])).settled == len(unacked)
            unacked = []
    assert device.frames.empty()


def test_a_stream_goes_on_after_pushes_that_are_refused(backend):
    """A refused push is an answer with its error, at its place."""
    good, bad = request("ada", b"x"), request("not/a/name", b"x")
    huge = request("ada", b"x" * (64 * 1024 + 1))
    empty = backend_pb2.PushRequest()
    answers = backend.stream([good, bad, good, huge, empty, good])
    assert [answer.WhichOneof("outcome") for answer in answers] == [
        "accepted", "error", "accepted", "error", "error", "accepted",
    ]
    assert [answer.accepted.offset for answer in answers if answer.HasField("accepted")] == [1, 2, 3]
    errors = [answer.error for answer in answers if answer.HasField("error")]
    assert [(error.code, error.errno, error.status) for error in errors] == [
        ("invalid_name", 103, 3), ("payload_too_large", 106, 3), ("invalid_target", 102, 3),
    ]
    assert all(error.message for error in errors)


def test_many_streams_at_once_keep_their_own_order(devices, backend):
    """P1.3: group commit mixes the pushes of many callers, and keeps each caller's order."""
    calls, count = 8, 200
    device = devices().open(window=1024)

    def numbered(caller):
        for number in range(1, count + 1):
            yield backend_pb2.PushStreamRequest(reference=number, push=request("ada", b"%d %d" % (caller, number)))

    metadata = backend.key
    streams = [backend.stub.PushStream(numbered(n), metadata=metadata, timeout=SOON) for n in range(calls)]
    for stream in streams:
        assert [answer.reference for answer in stream] == list(range(1, count + 1))
    received = [[] for _ in range(calls)]
    for _ in range(calls * count):
        push = device.push()
        caller, number = map(int, push.payload.split())
        received[caller].append(number)
        if push.seq % 100 == 0:
            device.ack((push.seq - 99, push.seq))
    assert received == [list(range(1, count + 1))] * calls


def test_the_first_answer_of_a_stream_does_not_wait_for_its_end(backend):
    """A stream that stays open answers as it goes: the caller sends the next push when it has the answer."""
    step = queue.SimpleQueue()
    answers = backend.stub.PushStream(iter(step.get, None), metadata=backend.key, timeout=SOON)
    for reference in (7, 3, 9):
        step.put(backend_pb2.PushStreamRequest(reference=reference, push=request("ada", b"")))
        assert next(answers).reference == reference
    step.put(None)
    assert list(answers) == []
    assert answers.code() == grpc.StatusCode.OK


def test_an_idempotency_key_makes_a_repeat_harmless_even_across_a_crash(gateway, device, backend):
    """P5.8: the same key answers with the first message; other content is refused; SIGKILL changes nothing."""
    push = dict(ttl_seconds=600, idempotency_key="order-1", attributes={"a": "b"})
    first = backend.push("ada", b"pay", **push)
    for _ in range(2):
        second = backend.push("ada", b"pay", **push)
        assert second.duplicate and not first.duplicate
        assert (second.id, second.log, second.offset, second.epoch) == (first.id, first.log, first.offset, first.epoch)
        assert (second.accepted_at_ms, second.expires_at_ms) == (first.accepted_at_ms, first.expires_at_ms)

        conflict = (grpc.StatusCode.ALREADY_EXISTS, "idempotency_conflict", 304)
        check_refused(lambda: backend.push("ada", b"PAY", **push), *conflict)
        check_refused(lambda: backend.push("bob", b"pay", **push), *conflict)
        check_refused(lambda: backend.push("ada", b"pay", **{**push, "ttl_seconds": 601}), *conflict)

        backend.close()
        gateway.kill()
        gateway.start()
        backend = Backend(gateway)
    assert backend.push("ada", b"next").offset == 2, "none of the repeats was stored"
    backend.close()


def test_twenty_racing_repeats_store_one_message(backend):
    """The key also holds among calls that are under way at the same time."""
    calls = [
        backend.stub.Push.future(
            request("ada", b"once", idempotency_key="race"), metadata=backend.key, timeout=SOON
        )
        for _ in range(20)
    ]
    answers = [call.result() for call in calls]
    assert len({answer.id for answer in answers}) == 1
    assert sorted(answer.duplicate for answer in answers) == [False] + [True] * 19


def test_p5_8_of_a_collapse_key_an_offline_device_gets_only_the_newest(device, backend):
    """P5.8: a newer push with the same key, target and log takes the place of one that waits."""
    old = [backend.push("ada", b"%d" % number, collapse_key="score").id for number in range(5)]
    other = backend.push("ada", b"other", collapse_key="weather").id
    plain = backend.push("ada", b"plain").id
    new = backend.push("ada", b"newest", collapse_key="score").id
    single = backend.push(("ada", "phone"), b"mine", collapse_key="score").id
    device.open()
    assert device.payloads(4) == [b"other", b"plain", b"newest", b"mine"]
    for id in old:
        known = backend.message(id)
        assert known.state == REPLACED and not known.HasField("content")
    assert [backend.message(id).state for id in (other, plain, new, single)] == [STORED] * 4


def test_a_message_whose_time_is_over_expires(device, backend):
    """P5.8: expired messages are not delivered, and GetMessage says so."""
    id = backend.push("ada", b"short", ttl_seconds=1).id
    kept = backend.push("ada", b"long", ttl_seconds=600).id
    assert backend.message(id).state == STORED
    eventually("expired", lambda: backend.message(id).state == EXPIRED)
    assert not backend.message(id).HasField("content")
    device.open()
    assert message_id(device.push()) == kept


def test_online_only_pushes_go_to_those_who_are_there(gateway, devices, backend):
    """Durability NONE, and a life of 0: now or never, at most once, not stored."""
    assert backend.push("ada", b"nobody", durability=backend_pb2.DURABILITY_NONE).online == 0
    phone, tablet = devices().open(), devices(device="tablet").open()
    for fields in (dict(durability=backend_pb2.DURABILITY_NONE), dict(ttl_seconds=0)):
        answer = backend.push("ada", b"now", **fields)
        assert (answer.online, answer.log, answer.offset, answer.expires_at_ms) == (2, "", 0, 0)
        for device in (phone, tablet):
            push = device.push()
            assert (message_id(push), push.payload, push.expires_at_ms) == (answer.id, b"now", 0)
            assert device.ack(push.seq).settled == 1
        check_refused(lambda: backend.message(answer.id), grpc.StatusCode.NOT_FOUND, "message_not_found", 305)
    only = backend.push(("ada", "phone"), b"phone", durability=backend_pb2.DURABILITY_NONE)
    assert message_id(phone.push()) == only.id
    phone.close()
    marker = backend.push("ada", b"marker").id
    again = devices().open()
    assert message_id(again.push()) == marker and message_id(tablet.push()) == marker


def test_a_relaxed_push_survives_the_death_of_the_process(gateway, devices, backend):
    """DURABILITY_RELAXED: handed to the operating system before the answer."""
    ids = [backend.push("ada", b"%d" % n, durability=backend_pb2.DURABILITY_RELAXED).id for n in range(50)]
    gateway.kill()
    gateway.start()
    device = devices().open()
    assert [message_id(push) for push in device.pushes(50)] == ids


@pytest.mark.settings(store__inbox_entries_max=5, store__topic_entries_max=5)
def test_full_logs_refuse_or_forget_as_documented(devices, backend):
    """A full inbox lets go what all devices have settled, and else refuses; a full topic forgets its oldest."""
    device = devices().open()
    backend.push_many("ada", [b"%d" % number for number in range(5)])
    exhausted = (grpc.StatusCode.RESOURCE_EXHAUSTED, "log_full", 405)
    check_refused(lambda: backend.push("ada", b"6"), *exhausted)
    pushes = device.pushes(5)
    check_refused(lambda: backend.push("ada", b"6"), *exhausted)
    device.ack_push(pushes[0])
    assert backend.push("ada", b"6").offset == 6
    check_refused(lambda: backend.push("ada", b"7"), *exhausted)
    assert device.push().payload == b"6"

    ids = [answer.id for answer in backend.push_many(topic("t"), [b"%d" % number for number in range(8)])]
    assert [backend.message(id).state for id in ids] == [TRIMMED] * 3 + [STORED] * 5


BAD_PUSHES = [
    ("no target", backend_pb2.PushRequest(payload=b"x"), INVALID, "invalid_target", 102),
    ("an empty user", request("", b"x"), INVALID, "invalid_name", 103),
    ("a user with a slash", request("a/b", b"x"), INVALID, "invalid_name", 103),
    ("a user that is too long", request("u" * 2000, b"x"), INVALID, "invalid_name", 103),
    ("a device without a name", request(("ada", ""), b"x"), INVALID, "invalid_name", 103),
    ("a topic with a space", request(topic("a b"), b"x"), INVALID, "invalid_name", 103),
    ("a payload too large", request("ada", b"x" * 65_537), INVALID, "payload_too_large", 106),
    ("a payload far too large", request("ada", b"x" * 500_000), INVALID, "payload_too_large", 106),
    ("33 attributes", request("ada", attributes={f"a{n}": "" for n in range(33)}), INVALID, "invalid_attributes", 105),
    ("a long attribute", request("ada", attributes={"a": "x" * 1025}), INVALID, "invalid_attributes", 105),
    ("a bad attribute name", request("ada", attributes={"a b": ""}), INVALID, "invalid_attributes", 105),
    ("a long content type", request("ada", content_type="x" * 129), INVALID, "invalid_option", 104),
    ("a content type with a line break", request("ada", content_type="a\nb"), INVALID, "invalid_option", 104),
    ("a long collapse key", request("ada", collapse_key="x" * 65), INVALID, "invalid_option", 104),
    ("a long idempotency key", request("ada", idempotency_key="x" * 129), INVALID, "invalid_option", 104),
    ("an unknown urgency", request("ada", urgency=9), INVALID, "invalid_option", 104),
    ("an unknown durability", request("ada", durability=9), INVALID, "invalid_option", 104),
]


def test_bad_pushes_are_refused_with_their_code_and_nothing_is_stored(gateway, backend):
    """P1.16: each refusal has a stable code, and the message says what to do."""
    for what, push, status, code, errno in BAD_PUSHES:
        got = refusal(lambda: backend.stub.Push(push, metadata=backend.key, timeout=SOON))
        assert (got.status, got.code, got.errno) == (status, code, str(errno)), (what, got)
        assert got.words, what
    assert backend.push("ada", b"good").offset == 1, "nothing was stored half"
    gateway.assert_ready()


def test_messages_that_are_not_known_are_refused(backend):
    """Ids that nobody gave out, and what is no id."""
    unknown = "01890000-0000-7000-8000-000000000000"
    check_refused(lambda: backend.message(unknown), grpc.StatusCode.NOT_FOUND, "message_not_found", 305)
    for id in ("", "x", unknown + "0"):
        check_refused(lambda: backend.message(id), INVALID, "malformed", 101)


def test_keys_of_backends_are_checked_on_every_method(gateway):
    """No key, another key, a device's token: refused, and a stream too."""
    token = gateway.token("ada", "phone")
    for key, code, errno in [("", "missing_credentials", 201), ("plk_" + "x" * 40, "invalid_credentials", 202),
                             (token, "invalid_credentials", 202), ("x" * 9000, "invalid_credentials", 202)]:
        backend = Backend(gateway, key=key)
        for call in (
            lambda: backend.push("ada", b"x"),
            lambda: backend.message("01890000-0000-7000-8000-000000000000"),
            lambda: backend.stream([request("ada", b"x")]),
        ):
            check_refused(call, grpc.StatusCode.UNAUTHENTICATED, code, errno)
        backend.close()
    bare = Backend(gateway)
    bare.key = ()
    check_refused(lambda: bare.push(), grpc.StatusCode.UNAUTHENTICATED, "missing_credentials", 201)
    bare.close()
    gateway.assert_ready()


def test_secrets_and_payloads_are_never_logged(gateways):
    """What passes through is nobody's business but the receiver's, even at the finest level."""
    gateway = gateways(log__filter="trace")
    backend, device = Backend(gateway), Device(gateway)
    device.open()
    backend.push("ada", b"S3CRET-payload", attributes={"a": "S3CRET-attribute"})
    device.ack_push(device.push())
    refusal(lambda: Backend(gateway, key="plk_wrong" + "x" * 40).push())
    device.close()
    backend.close()
    log = gateway.log()
    assert "session opened" in log
    ours = "\n".join(line for line in log.splitlines() if re.search(r"\bpushline", line))
    for secret in ("S3CRET", gateway.api_key, device.token, "plk_wrong"):
        assert secret not in ours
