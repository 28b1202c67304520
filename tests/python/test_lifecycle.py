"""Takeover, drain, crash and return: who is told what, and what is delivered afterwards."""

import queue
import signal
import time

import grpc
import pytest

import rawhttp2 as http2
from clients import Backend, Ended, check_refused, message_id, request, topic
from gateway import SOON, eventually
from stubs import backend_pb2, device_pb2

ACKED = backend_pb2.DeviceOutcome.STATE_ACKED


def check_close(device, code, name, status, may_return):
    """The next frame must be this Close, and the end of the stream must follow with this status."""
    frame = device.frame()
    assert not isinstance(frame, Ended), (frame.status, frame.words)
    assert frame.WhichOneof("frame") == "close", frame
    close = frame.close
    assert (close.code, close.name, close.may_return) == (code, name, may_return), close
    assert close.reason
    assert device.ended().status == status
    return close


def test_a_newer_connection_of_a_device_takes_over(devices, backend):
    """One device, one session: the older connection is told why it ends and that it must not come back by itself."""
    older = devices().open()
    ids = [answer.id for answer in backend.push_many("ada", [b"1", b"2", b"3"])]
    older.pushes(3)
    older.ack(2)
    newer = devices().open()
    close = check_close(older, 201, "taken_over", grpc.StatusCode.ABORTED, may_return=False)
    assert close.return_after_ms == 0
    assert newer.welcome.session != older.welcome.session
    assert [message_id(push) for push in newer.pushes(2)] == [ids[0], ids[2]], "what the older one acked counts"
    newer.ack((1, 2))
    marker = backend.push("ada", b"marker").id
    assert message_id(newer.push()) == marker


def test_twenty_takeovers_in_a_row_lose_nothing(gateway, devices, backend):
    """Each connection acks one push and is taken over; all arrive, in order, and none after its ack."""
    ids = [answer.id for answer in backend.push_many("ada", [b"%d" % number for number in range(20)])]
    acked = []
    for _ in range(20):
        device = devices().open(window=1)
        push = device.push()
        device.ack_push(push)
        acked.append(message_id(push))
    assert acked == ids
    assert gateway.metric("pushline_sessions") == 1


@pytest.mark.settings(drain__spread="500ms", drain__bound="10s")
def test_a_drain_tells_devices_to_move_and_ends_in_time(gateway, devices, backend):
    """SIGTERM: Move with a jittered time, then Close `drain` and UNAVAILABLE; the process ends with 0 within its bound;
    what was not acked is there after the restart."""
    crowd = [devices(user=f"u{number}").open() for number in range(8)]
    ids = [backend.push(f"u{number}", b"%d" % number).id for number in range(8)]
    for device in crowd:
        device.push()
    crowd[0].ack(1)
    begun = time.monotonic()
    gateway.terminate()
    moves = []
    for device in crowd:
        frame = device.frame()
        assert not isinstance(frame, Ended) and frame.WhichOneof("frame") == "move", frame
        moves.append(frame.move)
    assert all(move.return_after_ms <= 5_000 + 500 for move in moves), moves
    assert len({move.return_after_ms for move in moves}) > 1, "they do not all come back at once"
    assert crowd[1].ack(1).settled == 1, "acks count until the end"
    for device in crowd:
        close = check_close(device, 101, "drain", grpc.StatusCode.UNAVAILABLE, may_return=True)
        assert close.return_after_ms <= 5_500
    assert gateway.process.wait(10) == 0
    assert time.monotonic() - begun < 10

    gateway.process.stdout.close()
    gateway.start()
    backend = Backend(gateway)
    assert [backend.outcome(id).state == ACKED for id in ids] == [True, True] + [False] * 6
    for number in range(2, 8):
        push = devices(user=f"u{number}").open().push()
        assert message_id(push) == ids[number]
    backend.close()


@pytest.mark.settings(drain__spread="0s", drain__bound="5s")
def test_a_drain_without_devices_is_quick(gateway):
    """Nobody to wait for."""
    begun = time.monotonic()
    gateway.terminate()
    assert gateway.process.wait(SOON) == 0
    assert time.monotonic() - begun < 2


@pytest.mark.settings(drain__spread="2s", drain__bound="10s")
def test_while_draining_nobody_new_is_taken(gateway, devices, backend):
    """New connections and pushes are refused; the open session still settles what it has."""
    backend.push("ada", b"x")
    device = devices().open()
    push = device.push()
    late = devices(user="bob")
    grpc.channel_ready_future(late.channel).result(SOON)
    gateway.terminate()
    assert device.frame().WhichOneof("frame") == "move"
    check_refused(lambda: backend.push("ada", b"y"), grpc.StatusCode.UNAVAILABLE, "draining", 502)
    # Its connection has no session, so it is cut, and the listener is gone.
    assert late.start().ended().status == grpc.StatusCode.UNAVAILABLE
    device.ack_push(push)
    check_close(device, 101, "drain", grpc.StatusCode.UNAVAILABLE, may_return=True)
    late.close()
    assert gateway.process.wait(SOON) == 0


@pytest.mark.settings(drain__spread="0s", drain__bound="5s")
def test_a_drain_waits_for_nobody_who_says_nothing(gateway):
    """Silent sockets on both sides, TLS without Open, half a request: none of them holds up the end."""
    silent = [gateway.connect(), gateway.connect_tls("h2"), gateway.connect_backend()]
    half = gateway.connect_tls("h2")
    http2.Connection(half).greet().send(http2.HEADERS, http2.END_HEADERS, 1, http2.call("Open"))
    begun = time.monotonic()
    gateway.terminate()
    assert gateway.process.wait(SOON) == 0
    assert time.monotonic() - begun < 3
    for connection in [*silent, half]:
        connection.close()


@pytest.mark.settings(drain__spread="0s", drain__bound="5s")
def test_a_drain_ends_streams_of_backends_with_a_reason(gateway, backend):
    """What was answered is stored; the stream that stands open is told that the gateway drains."""
    steps = queue.SimpleQueue()
    answers = backend.stub.PushStream(iter(steps.get, None), metadata=backend.key, timeout=SOON)
    steps.put(backend_pb2.PushStreamRequest(reference=1, push=request("ada", b"before")))
    id = next(answers).accepted.id
    gateway.terminate()
    check_refused(lambda: next(answers), grpc.StatusCode.UNAVAILABLE, "draining", 502)
    steps.put(None)
    assert gateway.process.wait(SOON) == 0
    gateway.process.stdout.close()
    gateway.start()
    again = Backend(gateway)
    assert again.message(id).content.payload == b"before"
    again.close()


@pytest.mark.settings(drain__spread="0s", drain__bound="5s")
def test_interrupt_drains_like_terminate(gateway, devices):
    """Ctrl-C is the same as SIGTERM."""
    device = devices().open()
    gateway.process.send_signal(signal.SIGINT)
    assert device.frame().WhichOneof("frame") == "move"
    check_close(device, 101, "drain", grpc.StatusCode.UNAVAILABLE, may_return=True)
    assert gateway.process.wait(SOON) == 0


def test_racing_connections_of_one_device_leave_one_session(gateway, devices, backend):
    """Twenty at the same moment: one stays, and it gets the pushes; all others are told that they were taken over."""
    token = gateway.token("ada", "phone")
    racers = [devices(token=token) for _ in range(20)]
    for racer in racers:
        grpc.channel_ready_future(racer.channel).result(SOON)
    for racer in racers:
        racer.start()
    first = [racer.frame() for racer in racers]
    assert all(not isinstance(frame, Ended) and frame.WhichOneof("frame") == "welcome" for frame in first), first
    eventually("one session", lambda: gateway.metric("pushline_sessions") == 1)
    id = backend.push("ada", b"to the last one").id
    second = [racer.frame() for racer in racers]
    pushes = [frame.push for frame in second if frame.WhichOneof("frame") == "push"]
    assert [message_id(push) for push in pushes] == [id]
    closes = [frame.close.name for frame in second if frame.WhichOneof("frame") == "close"]
    assert closes == ["taken_over"] * 19


def test_p5_8_a_crash_loses_nothing_and_repeats_nothing_that_was_acked(gateway, devices, backend):
    """P5.8: three times SIGKILL with pushes in flight, in the inbox and in a topic: the same ids come again, in order,
    and exactly those whose ack was not answered."""
    device = devices().open()
    device.subscribe("news")
    unacked = {b"i": [], b"t": []}
    for life in range(3):
        for number in range(10):
            for log, target in ((b"i", "ada"), (b"t", topic("news"))):
                unacked[log].append(backend.push(target, b"%s%d.%d" % (log, life, number)).id)
        count = sum(map(len, unacked.values()))
        pushes = device.pushes(count)
        for log, ids in unacked.items():
            assert [message_id(push) for push in pushes if push.payload.startswith(log)] == ids
        settled = [push for index, push in enumerate(pushes) if index % 3 == 1]
        device.ack_push(*settled)
        for push in settled:
            unacked[push.payload[:1]].remove(message_id(push))

        gateway.kill()
        assert device.ended().status == grpc.StatusCode.UNAVAILABLE
        backend.close()
        gateway.start()
        backend = Backend(gateway)
        device = devices().open()
        assert device.welcome.resume.outcome == device_pb2.Resume.OUTCOME_RESUMED
        assert device.welcome.resume.waiting == sum(map(len, unacked.values()))
        assert list(device.welcome.topics) == ["news"]
    backend.close()


def test_p5_8_a_restart_after_a_crash_takes_less_than_two_seconds(gateway, devices, backend):
    """P5.8: from the start of the process to its canary through append and read, with 10,000 messages on disk."""
    backend.stream(request(f"u{number % 100}", b"x" * 200) for number in range(10_000))
    gateway.kill()
    begun = time.monotonic()
    gateway.start()
    gateway.assert_ready()
    took = time.monotonic() - begun
    assert took < 2, took
    assert devices(user="u7").open(window=200).welcome.resume.waiting == 100


def test_a_token_that_expires_ends_its_session(gateway, devices):
    """The device is told, then the session ends with `token_expired`; the same token is refused from then on, a new one is
    taken."""
    device = devices(token=gateway.token("ada", "phone", "--ttl", "2s")).open()
    told = device.frame()
    assert told.WhichOneof("frame") == "token_expiring", told
    check_close(device, 202, "token_expired", grpc.StatusCode.UNAUTHENTICATED, may_return=False)
    again = devices(token=device.token).start().ended()
    assert again.status == grpc.StatusCode.UNAUTHENTICATED
    assert (again.trailers["pushline-code"], again.trailers["pushline-errno"]) == ("expired_token", "203")
    devices().open()


@pytest.mark.settings(session__heartbeat="1s", session__heartbeat_min="1s", session__heartbeat_timeout="1s")
def test_p1_12_an_idle_stock_client_is_kept_alive_by_the_servers_timer(gateway, devices, backend):
    """P1.12: grpcio sends nothing by itself; the server's PINGs, which every HTTP/2 client answers, keep it alive well
    past interval and timeout."""
    device = devices().open()
    plan = device.welcome.heartbeat
    span = (plan.server_interval_ms + plan.timeout_ms) / 1000
    with pytest.raises(AssertionError, match="no frame"):
        device.frame(deadline=2 * span)
    backend.push("ada", b"still here")
    assert device.push().payload == b"still here"
    assert device.call.is_active()
