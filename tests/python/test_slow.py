"""Devices that do not read, or stay away too long: they cost their cursor and little else."""

import pytest

import rawhttp2 as http2
from clients import message_id, request, topic
from gateway import SOON, eventually
from stubs import backend_pb2, device_pb2


def follower(gateway, user):
    """A device that follows the topic `news` and from then on reads nothing."""
    connection = http2.Connection(gateway.connect_tls("h2", receive_bytes=4096)).greet()
    connection.socket.settimeout(SOON)
    connection.open(gateway.token(user, "phone"), device_pb2.OpenRequest(window=1024).SerializeToString())
    connection.until(http2.DATA, 1)
    subscribe = device_pb2.SubscribeRequest(topics=["news"]).SerializeToString()
    connection.send(http2.HEADERS, http2.END_HEADERS, 3, http2.call("Subscribe"))
    connection.send(http2.DATA, http2.END_STREAM, 3, http2.message(subscribe))
    subscribed = device_pb2.SubscribeResponse(subscriptions=1).SerializeToString()
    assert connection.until(http2.DATA, 3)[3] == http2.message(subscribed)
    return connection


def resident_bytes(gateway) -> int:
    """Memory of the process."""
    for line in open(f"/proc/{gateway.process.pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def test_a_hundred_devices_that_never_read_cost_little_and_delay_nobody(gateway, devices, backend):
    """10,000 pushes to a topic that a hundred silent devices with large windows follow: a device that reads gets them
    all in order. Memory grows by at most half a MiB for each silent one (256 KiB unsent, 64 KiB in HTTP/2, 16 KiB in
    TLS, the places of what is in flight) and the store's own buffers. All pushes for all of them would be 500 MB."""
    count, silent = 10_000, 100
    crowd = [follower(gateway, f"silent{number}") for number in range(silent)]
    reader = devices().open(window=1024)
    reader.subscribe("news")
    backend.stream(request(topic("warm"), b"x" * 500) for _ in range(count))
    before = resident_bytes(gateway)
    answers = backend.stream(request(topic("news"), b"x" * 500) for _ in range(count))
    for at in range(0, count, 500):
        pushes = reader.pushes(500)
        assert [message_id(push) for push in pushes] == [answer.accepted.id for answer in answers[at : at + 500]]
        reader.ack((pushes[0].seq, pushes[-1].seq))
    grown = resident_bytes(gateway) - before
    assert grown < silent * 512 * 1024 + 32 * 1024 * 1024, f"{grown / 2**20:.0f} MiB"
    assert gateway.metric("pushline_sessions") == silent + 1
    for connection in crowd:
        connection.socket.close()


@pytest.mark.settings(session__write_stall="1s")
def test_a_device_that_takes_nothing_is_closed_and_loses_nothing(gateway, devices, backend):
    """`slow_consumer` after the write stall; the next connection gets all of it."""
    connection = follower(gateway, "ada")
    ids = [answer.id for answer in backend.push_many("ada", [b"x" * 60_000] * 20)]
    eventually("closed", lambda: gateway.metric('pushline_sessions_closed_total{reason="slow_consumer"}') == 1)
    device = devices().open()
    assert [message_id(push) for push in device.pushes(20)] == ids
    connection.socket.close()


@pytest.mark.settings(store__topic_entries_max=10)
def test_a_device_that_stays_away_too_long_is_told_what_it_missed(device, devices, backend):
    """The log let go of entries that the device had not acked: the welcome says GAP and how many at most."""
    device.open()
    device.subscribe("news")
    device.close()
    ids = [answer.id for answer in backend.push_many(topic("news"), [b"%d" % number for number in range(25)])]
    again = devices().open()
    resume = again.welcome.resume
    assert (resume.outcome, resume.missed, resume.waiting) == (device_pb2.Resume.OUTCOME_GAP, 15, 10)
    pushes = again.pushes(10)
    assert [message_id(push) for push in pushes] == ids[15:]
    again.ack((1, 10))
    again.close()
    assert devices().open().welcome.resume.outcome == device_pb2.Resume.OUTCOME_RESUMED


def test_of_a_topic_message_the_dead_deliveries_are_shown(devices, backend):
    """GetMessage: for topics only the devices that gave up, since nobody counts who waits."""
    first, second, third = (devices(user=user).open() for user in ("a", "b", "c"))
    for device in (first, second, third):
        device.subscribe("news")
    id = backend.push(topic("news"), b"x").id
    first.reject(first.push(), "cannot show it")
    second.ack_push(second.push())
    third.push()
    (outcome,) = backend.message(id).devices
    assert (outcome.user, outcome.device, outcome.reason) == ("a", "phone", "cannot show it")
    assert outcome.state == backend_pb2.DeviceOutcome.STATE_DEAD


@pytest.mark.settings(session__heartbeat="2s", session__heartbeat_min="1s", session__heartbeat_timeout="1s")
def test_p1_11_a_stock_client_that_beats_by_itself_is_welcome(gateway, devices):
    """P1.11: a client whose timer T1 is the shorter one; its PINGs are answered, and are life enough for the server."""
    keepalive = [
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_timeout_ms", 1000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    device = devices(options=keepalive).open()
    received = gateway.metric("pushline_received_bytes_total")
    plan = device.welcome.heartbeat
    span = (plan.server_interval_ms + plan.timeout_ms) / 1000
    with pytest.raises(AssertionError, match="no frame"):
        device.frame(deadline=1.2 * span)
    assert device.call.is_active()
    beats = (gateway.metric("pushline_received_bytes_total") - received) / 17
    assert beats >= span / 2, "frames of PING, 17 bytes each"
