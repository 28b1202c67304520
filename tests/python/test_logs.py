"""Whom a push reaches, from when, and in which order: users, devices, topics, tenants, urgency floors."""

import grpc

from clients import Backend, Device, check_refused, message_id, topic
from stubs import backend_pb2, device_pb2

ACKED = backend_pb2.DeviceOutcome.STATE_ACKED
WAITING = backend_pb2.DeviceOutcome.STATE_WAITING


def test_two_devices_of_a_user_have_cursors_of_their_own(devices, backend):
    """P5.8: an ack of one does not swallow the other's copy."""
    phone, tablet = devices().open(), devices(device="tablet").open()
    ids = [answer.id for answer in backend.push_many("ada", [b"1", b"2", b"3"])]
    phone.ack_push(*phone.pushes(3))
    assert [message_id(push) for push in tablet.pushes(3)] == ids
    tablet.ack(2)
    for id, expected in zip(ids, (WAITING, ACKED, WAITING)):
        assert backend.outcome(id, "phone").state == ACKED
        assert backend.outcome(id, "tablet").state == expected
    for device in (phone, tablet):
        device.close()
    assert [message_id(push) for push in devices(device="tablet").open().pushes(2)] == [ids[0], ids[2]]
    again = devices().open()
    assert again.welcome.resume.waiting == 0
    check_next_is_new(again, backend)


def check_next_is_new(device, backend):
    """Pushes a marker, which must be the next that arrives: nothing else was waiting."""
    id = backend.push("ada", b"marker").id
    push = device.push()
    assert message_id(push) == id, push


def test_a_device_target_reaches_that_device_only(devices, backend):
    """P5.8: for one device of one user; the other one's log simply goes on."""
    phone, tablet = devices().open(), devices(device="tablet").open()
    id = backend.push(("ada", "tablet"), b"tablet only").id
    push = tablet.push()
    assert message_id(push) == id
    assert (push.target.device.user, push.target.device.device) == ("ada", "tablet")
    check_next_is_new(phone, backend)
    assert tablet.push().payload == b"marker"
    phone.close()
    assert devices().open().push().payload == b"marker"


def test_a_device_that_was_never_seen_gets_what_waits(devices, backend):
    """P5.8: a new device of a user starts at the first unexpired entry of the inbox."""
    ids = [answer.id for answer in backend.push_many("ada", [b"1", b"2"])]
    ids.append(backend.push(("ada", "phone"), b"3").id)
    backend.push(("ada", "tablet"), b"not for the phone")
    device = devices().open()
    assert device.welcome.resume.outcome == device_pb2.Resume.OUTCOME_NEW
    assert [message_id(push) for push in device.pushes(3)] == ids
    check_next_is_new(device, backend)


def test_p5_8_an_offline_device_gets_exactly_what_it_missed_in_order(devices, backend):
    """P5.8: inbox and topic, through several absences."""
    device = devices().open()
    device.subscribe("news")
    device.ack_push(*device_pushes(device, backend, b"here"))
    for absence in range(3):
        device.close()
        inbox = backend.push_many("ada", [b"i%d.%d" % (absence, number) for number in range(30)])
        news = backend.push_many(topic("news"), [b"t%d.%d" % (absence, number) for number in range(30)])
        device = devices().open()
        assert device.welcome.resume.outcome == device_pb2.Resume.OUTCOME_RESUMED
        assert device.welcome.resume.waiting == 60
        assert list(device.welcome.topics) == ["news"]
        pushes = device.pushes(60)
        for log, answers in ((b"i", inbox), (b"t", news)):
            got = [message_id(push) for push in pushes if push.payload.startswith(log)]
            assert got == [answer.id for answer in answers]
        device.ack((1, 60))
    check_next_is_new(device, backend)


def device_pushes(device, backend, payload):
    """One push to the inbox and one to the topic `news`, as they arrive."""
    backend.push("ada", payload)
    backend.push(topic("news"), payload)
    return device.pushes(2)


def test_a_topic_is_followed_from_now_on(devices, backend):
    """Subscribe: what was pushed before is not delivered; after the answer everything is; repeating is harmless."""
    backend.push(topic("news"), b"before")
    device = devices().open()
    assert device.subscribe("news", "sport") == 2
    after = backend.push(topic("news"), b"after").id
    assert device.subscribe("news") == 2, "repeating it moves nothing"
    push = device.push()
    assert message_id(push) == after and push.target.topic == "news"
    assert device.unsubscribe("news") == 1
    assert device.unsubscribe("news") == 1
    backend.push(topic("news"), b"while away")
    assert device.subscribe("news") == 2
    last = backend.push(topic("news"), b"last").id
    assert message_id(device.push()) == last
    device.close()
    again = devices().open()
    assert sorted(again.welcome.topics) == ["news", "sport"], "subscriptions last"


def test_a_topic_push_reaches_all_who_follow_and_no_others(devices, backend):
    """One append, many readers; a device of another user and one that does not follow see nothing."""
    followers = [devices(user=f"u{number}").open() for number in range(5)]
    for follower in followers:
        follower.subscribe("news")
    tablet = devices(user="u0", device="tablet").open()
    id = backend.push(topic("news"), b"all").id
    for follower in followers:
        push = follower.push()
        assert message_id(push) == id
        follower.ack_push(push)
    marker = backend.push("u0", b"marker").id
    assert message_id(tablet.push()) == marker, "a subscription is the device's, not the user's"


def test_what_is_below_the_floor_waits_until_the_floor_is_lowered(devices, backend):
    """Urgency (RFC 8030, section 5.3): withheld pushes are not lost and not skipped; Update releases them in order."""
    low, normal, high = device_pb2.URGENCY_LOW, device_pb2.URGENCY_NORMAL, device_pb2.URGENCY_HIGH
    device = devices().open(urgency_floor=high)
    ids = [backend.push("ada", b"", urgency=urgency).id for urgency in (low, high, normal, high, low)]
    pushes = device.pushes(2)
    assert [message_id(push) for push in pushes] == [ids[1], ids[3]]
    device.ack_push(*pushes)
    assert device.update(urgency_floor=normal).urgency_floor == normal
    push = device.push()
    assert message_id(push) == ids[2]
    device.ack_push(push)
    device.close()

    device = devices().open(urgency_floor=high)
    id = backend.push("ada", b"", urgency=high).id
    push = device.push()
    assert message_id(push) == id, "what is below the floor waits in a new session as well"
    device.ack_push(push)
    device.update(urgency_floor=device_pb2.URGENCY_UNSPECIFIED)
    assert [message_id(push) for push in device.pushes(2)] == [ids[0], ids[4]]


def test_tenants_are_apart(gateways):
    """The same names in two tenants are different users, topics, messages and idempotency keys."""
    other_key = "k" * 40
    gateway = gateways(auth__keys=f"other:{other_key}")
    ours, theirs = Backend(gateway), Backend(gateway, key=other_key)
    our_device = Device(gateway)
    their_device = Device(gateway, token=gateway.token("ada", "phone", "--tenant", "other"))
    our_device.open()
    their_device.open()
    assert our_device.call.is_active(), "the same device name of another tenant takes nothing over"
    our_device.subscribe("news")
    their_device.subscribe("news")

    first = ours.push("ada", b"ours", idempotency_key="k")
    second = theirs.push("ada", b"theirs", idempotency_key="k")
    assert not second.duplicate and second.offset == first.offset == 1
    assert (our_device.push().payload, their_device.push().payload) == (b"ours", b"theirs")
    ours.push(topic("news"), b"ours")
    theirs.push(topic("news"), b"theirs")
    assert (our_device.push().payload, their_device.push().payload) == (b"ours", b"theirs")

    for foreign, backend in ((second, ours), (first, theirs)):
        check_refused(lambda: backend.message(foreign.id), grpc.StatusCode.NOT_FOUND, "message_not_found", 305)
    assert ours.outcome(first.id).user == "ada"
    for client in (our_device, their_device, ours, theirs):
        client.close()
