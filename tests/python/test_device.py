"""A stock gRPC client as a device: one connection, one long stream, short streams beside it; exact acks."""

import grpc
import pytest

from clients import check_refused, message_id, topic
from gateway import eventually
from stubs import backend_pb2, device_pb2

DEAD = backend_pb2.DeviceOutcome.STATE_DEAD
ACKED = backend_pb2.DeviceOutcome.STATE_ACKED
WAITING = backend_pb2.DeviceOutcome.STATE_WAITING


def test_p1_2_p1_6_one_connection_carries_the_push_stream_and_the_short_streams(gateway, device, backend):
    """P1.2 P1.3 P1.4 P1.5 P1.6: pushes arrive on the one long stream; requests and acks are short calls beside it, each
    answered on its own stream, and all of it is one connection."""
    device.open(heartbeat_ms=30_000, window=8, agent="stock/1")
    assert device.welcome.window == 8
    assert device.welcome.heartbeat.client_interval_ms == 30_000
    assert device.welcome.heartbeat.server_interval_ms > 30_000, "P1.12: the server's timer is the longer one"
    assert device.welcome.resume.outcome == device_pb2.Resume.OUTCOME_NEW
    assert list(device.welcome.topics) == []

    assert device.subscribe("news") == 1
    for number in range(20):
        backend.push("ada", b"inbox %d" % number)
        backend.push(topic("news"), b"topic %d" % number)
        pushes = device.pushes(2)
        assert sorted(push.payload for push in pushes) == [b"inbox %d" % number, b"topic %d" % number]
        device.ack_push(*pushes)
        assert device.update(window=8 + number).window == 8 + number
    assert device.unsubscribe("news") == 0
    assert device.call.is_active(), "P1.9: the push stream stays open through it all"
    assert gateway.metric("pushline_connections") == 1
    assert gateway.metric("pushline_sessions") == 1


def test_p1_3_a_push_says_all_that_the_backend_said(device, backend):
    """P1.3: what arrives is what was pushed, with its id and times."""
    device.open()
    answer = backend.push(
        "ada",
        b"\x00\xffbytes",
        content_type="application/x-thing",
        attributes={"a": "b", "c": "d\u00e9"},
        ttl_seconds=60,
        urgency=device_pb2.URGENCY_HIGH,
        collapse_key="k",
    )
    push = device.push()
    assert (push.seq, push.attempt) == (1, 1)
    assert message_id(push) == answer.id
    assert push.accepted_at_ms == answer.accepted_at_ms
    assert push.expires_at_ms == answer.expires_at_ms == answer.accepted_at_ms + 60_000
    assert push.target.user == "ada"
    assert (push.payload, push.content_type) == (b"\x00\xffbytes", "application/x-thing")
    assert dict(push.attributes) == {"a": "b", "c": "d\u00e9"}
    assert (push.urgency, push.collapse_key) == (device_pb2.URGENCY_HIGH, "k")


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 16_384, 65_536])
def test_payloads_of_all_sizes_arrive_whole(device, backend, size):
    """P1.3: below and above the size from which the gateway shares a payload instead of copying it."""
    device.open()
    payload = bytes(index % 251 for index in range(size))
    sent = [backend.push("ada", payload).id for _ in range(3)]
    pushes = device.pushes(3)
    assert [message_id(push) for push in pushes] == sent
    assert all(push.payload == payload for push in pushes)


def test_p1_5_acks_are_exact_in_any_order_and_harmless_twice(device, devices, backend):
    """P1.5: ranges, out of order, overlapping and repeated; what was not named is redelivered, nothing else."""
    sent = [answer.id for answer in backend.push_many("ada", [b"%d" % number for number in range(1, 11)])]
    device.open()
    pushes = device.pushes(10)
    assert [push.seq for push in pushes] == list(range(1, 11))
    assert [message_id(push) for push in pushes] == sent

    answer = device.ack((9, 10), 2, (4, 5))
    assert (answer.settled, answer.already_settled) == (5, 0)
    answer = device.ack((9, 10))
    assert (answer.settled, answer.already_settled) == (0, 2)
    answer = device.ack((4, 6), (5, 7), session=device.welcome.session)
    assert answer.settled == 2, "4 and 5 were settled before, 6 and 7 are new"
    assert answer.settled + answer.already_settled == 6
    for number, id in enumerate(sent, 1):
        expected = ACKED if number in (2, 4, 5, 6, 7, 9, 10) else WAITING
        assert backend.outcome(id).state == expected, number
    device.close()

    again = devices().open()
    assert again.welcome.resume.outcome == device_pb2.Resume.OUTCOME_RESUMED
    assert again.welcome.resume.waiting == 3
    left = again.pushes(3)
    assert [message_id(push) for push in left] == [sent[0], sent[2], sent[7]]
    assert [push.seq for push in left] == [1, 2, 3], "seqs are the session's own"
    again.ack((1, 3))
    marker = backend.push("ada", b"marker").id
    assert message_id(again.push()) == marker, "nothing that was acked comes again"


def test_p1_5_acks_that_cannot_be_meant_are_refused_whole(device, devices, backend):
    """P1.5: future seqs, foreign sessions, backward ranges: refused with their codes, nothing of them is applied."""
    ids = [answer.id for answer in backend.push_many("ada", [b"1", b"2"])]
    device.open()
    device.pushes(2)
    other = devices(user="bob").open()
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    check_refused(lambda: device.ack(3), invalid, "future_seq", 108)
    check_refused(lambda: device.ack(1, (2, 2**64 - 1)), invalid, "future_seq", 108)
    check_refused(lambda: device.ack(1, nacked=[(9, 0, "")]), invalid, "future_seq", 108)
    check_refused(lambda: device.ack((2, 1)), invalid, "invalid_ack", 107)
    check_refused(lambda: device.ack((0, 1)), invalid, "invalid_ack", 107)
    check_refused(lambda: device.ack(), invalid, "invalid_ack", 107)
    check_refused(lambda: device.ack(*[1] * 1025), invalid, "invalid_ack", 107)
    check_refused(lambda: device.ack(nacked=[(1, 0, "r" * 257)]), invalid, "invalid_ack", 107)
    check_refused(lambda: device.ack(nacked=[(1, 7, "")]), invalid, "invalid_ack", 107)
    foreign = other.welcome.session
    check_refused(
        lambda: device.ack(1, session=foreign), grpc.StatusCode.FAILED_PRECONDITION, "session_mismatch", 303
    )
    assert [backend.outcome(id).state for id in ids] == [WAITING, WAITING], "nothing was applied"
    assert device.ack((1, 2)).settled == 2


@pytest.mark.settings(session__retry_pause_first="10ms", session__retry_pause_max="50ms")
def test_p1_16_a_nacked_push_comes_again_as_the_same_message(device, backend):
    """P1.16: a failed push is known and tried again: same id, new seq, the attempt counts up."""
    id = backend.push("ada", b"try").id
    device.open()
    first = device.push()
    assert device.retry(first, "first").settled == 1
    second = device.push()
    assert device.retry(second, "second").settled == 1
    third = device.push()
    assert [message_id(push) for push in (first, second, third)] == [id] * 3
    assert [push.attempt for push in (first, second, third)] == [1, 2, 3]
    assert first.seq < second.seq < third.seq
    assert device.retry(second, "late").settled == 0, "a nack of an earlier delivery says nothing of the newest"
    assert device.ack(second.seq).settled == 1, "an ack that comes late still says that the message was handled"
    assert backend.outcome(id).state == ACKED
    assert device.ack(third.seq).already_settled == 1


@pytest.mark.settings(session__retry_pause_first="10ms", session__retry_pause_max="50ms")
def test_p1_16_attempts_are_counted_across_sessions(device, devices, backend):
    """P1.16: a new connection does not begin the count anew."""
    backend.push("ada", b"try")
    device.open()
    device.retry(device.push())
    again = device.push()
    assert again.attempt == 2
    device.close()
    assert devices().open().push().attempt == 2


def test_p1_16_a_rejected_push_is_dead_and_its_reason_is_shown(device, devices, backend):
    """P1.16: the cause of a failed push can be known."""
    id = backend.push("ada", b"bad").id
    device.open()
    before = device.welcome.server_time_ms
    assert device.reject(device.push(), "cannot parse it").settled == 1
    outcome = backend.outcome(id)
    assert (outcome.state, outcome.reason, outcome.user) == (DEAD, "cannot parse it", "ada")
    assert outcome.attempts == 1 and outcome.at_ms >= before
    marker = backend.push("ada", b"marker").id
    assert message_id(device.push()) == marker
    device.close()
    assert message_id(devices().open().push()) == marker, "a dead message does not come back in a new session"


@pytest.mark.settings(
    session__attempts_max=3, session__retry_pause_first="10ms", session__retry_pause_max="50ms"
)
def test_p1_16_a_push_that_fails_too_often_is_dead(device, backend):
    """P1.16: the cap of attempts ends in a dead letter with the last reason."""
    id = backend.push("ada", b"never").id
    device.open()
    for attempt in (1, 2, 3):
        push = device.push()
        assert push.attempt == attempt
        device.retry(push, f"reason {attempt}")
    outcome = backend.outcome(id)
    assert (outcome.state, outcome.attempts, outcome.reason) == (DEAD, 3, "reason 3")
    marker = backend.push("ada", b"marker").id
    assert message_id(device.push()) == marker


@pytest.mark.settings(
    session__ack_timeout="1s", session__attempts_max=2, session__retry_pause_first="10ms"
)
def test_p1_12_p1_16_an_ack_that_does_not_come_leads_to_redelivery(device, backend):
    """P1.16: no ack in time counts as a failed delivery; at the cap the message is dead of `ack_timeout`."""
    id = backend.push("ada", b"silence").id
    device.open()
    assert device.welcome.ack_timeout_ms == 1000
    first, second = device.pushes(2)
    assert message_id(first) == message_id(second) == id
    assert (first.attempt, second.attempt) == (1, 2) and second.seq > first.seq
    outcome = eventually("dead", lambda: next((o for o in backend.message(id).devices if o.state == DEAD), None))
    assert (outcome.reason, outcome.attempts) == ("ack_timeout", 2)


def test_p1_3_a_window_bounds_what_is_in_flight(gateway, device, backend):
    """P1.3: no more than the agreed window is sent unacked; the rest follows the acks in order."""
    backend.push_many("ada", [b"%d" % number for number in range(1, 8)])
    device.open(window=3)
    assert device.payloads(3) == [b"1", b"2", b"3"]
    assert device.update().window == 3
    assert gateway.metric("pushline_in_flight") == 3
    device.ack(2)
    assert device.push().payload == b"4"
    assert gateway.metric("pushline_in_flight") == 3
    device.ack(1, (3, 4))
    assert device.payloads(3) == [b"5", b"6", b"7"]


def test_p4_a_dismissal_reaches_the_users_other_device(devices, backend):
    """P4: what the user has seen on one device is taken from the others, by a push that only names it; a stock client says
    so with a call of its own, and is told of attributes that cannot be."""
    phone, laptop = devices(device="phone"), devices(device="laptop")
    phone.open(attributes={"platform": "ios"})
    laptop.open()
    seen = backend.push("ada", b"seen")
    for device in (phone, laptop):
        push = device.push()
        assert not push.HasField("dismissal")
        device.ack_push(push)
    assert phone.dismiss(bytes.fromhex(seen.id.replace("-", ""))) == 1
    push = laptop.push()
    assert push.dismissal.id == bytes.fromhex(seen.id.replace("-", ""))
    assert push.dismissal.reason == device_pb2.Dismissal.REASON_SEEN
    assert (push.payload, push.urgency) == (b"", device_pb2.URGENCY_UNSPECIFIED)
    laptop.ack_push(push)
    check_refused(lambda: phone.dismiss(b"short"), grpc.StatusCode.INVALID_ARGUMENT, "invalid_option", 104)
    bad = device_pb2.Attributes(values={"a b": "c"})
    check_refused(lambda: phone.update(attributes=bad), grpc.StatusCode.INVALID_ARGUMENT, "invalid_attributes", 105)
