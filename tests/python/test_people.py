"""Groups, users and audiences with a stock gRPC client and with curl: what anybody's backend would write."""

import time
import uuid

import grpc

from clients import Backend, check_refused, message_id, refusal, topic
from gateway import SOON
from stubs import audience_pb2, backend_pb2, device_pb2
from test_json import NDJSON, Json, check_error

INVALID = grpc.StatusCode.INVALID_ARGUMENT
State = backend_pb2.GetMessageResponse


def condition(text):
    """A condition as target."""
    return device_pb2.Target(condition=text)


def any_of(user):
    """Any device of a user as target."""
    return device_pb2.Target(any_of_user=user)


def test_p4_3_members_join_and_leave_on_a_stream_that_stays_open(backend, device):
    """P4.3, P4.7: each change is answered when it is on disk, and a device that is connected follows at once."""
    device.open()
    answers = backend.change_members(
        [("beta", ["ada", "bob"], []), ("beta", ["not a name"], []), ("beta", ["cid"], ["bob", "eve"])]
    )
    assert [(each.named, each.added, each.removed, each.members) for each in answers] == [
        (2, 2, 0, 2), (3, 2, 0, 0), (6, 3, 1, 2),
    ]
    assert (answers[1].error.code, answers[1].error.errno, answers[1].error.status) == ("invalid_name", 103, 3)
    assert not answers[0].HasField("error") and not answers[2].HasField("error")
    backend.push(topic("beta"), b"to members")
    assert device.push().payload == b"to members"
    group = backend.ask("GetGroup", audience_pb2.GetGroupRequest(name="beta"))
    assert (group.name, list(group.topics), group.members) == ("beta", ["beta"], 2)
    page = backend.ask("ListMembers", audience_pb2.ListMembersRequest(group="beta", limit=1))
    assert (list(page.users), page.next) == (["ada"], "ada")
    page = backend.ask("ListMembers", audience_pb2.ListMembersRequest(group="beta", after="ada", limit=1))
    assert (list(page.users), page.next) == (["cid"], "")
    (answer,) = backend.change_members([("beta", [], ["ada"])])
    assert (answer.removed, answer.members) == (1, 1)
    backend.push(topic("beta"), b"not for ada")
    backend.push("ada", b"for ada")
    assert device.push().payload == b"for ada"


def test_ten_thousand_join_by_curl(gateway, backend):
    """P4.3: the twin in lines; progress in each of them."""
    users = [f"user{number:05}" for number in range(10_000)]
    lines = b"".join(
        b'{"group": "all", "add": [%s]}\n' % b",".join(b'"%s"' % user.encode() for user in users[at : at + 500])
        for at in range(0, len(users), 500)
    )
    answer = Json(gateway).call("/v1/members/stream", data=lines, media=NDJSON)
    assert answer.status == 200
    told = answer.lines()
    assert [line["added"] for line in told] == list(range(500, 10_001, 500))
    assert told[-1] == {"named": 10_000, "added": 10_000, "removed": 0, "members": 10_000}
    listed, after = [], ""
    while True:
        request = audience_pb2.ListMembersRequest(group="all", after=after, limit=1000)
        page = backend.ask("ListMembers", request)
        listed += page.users
        after = page.next
        if not after:
            break
    assert listed == users


def test_a_stale_version_cannot_win(backend):
    """P4.3: a late call with an older version changes nothing."""
    def groups(names, version):
        return backend.ask("SetGroups", audience_pb2.SetGroupsRequest(user="ada", groups=names, version=version))

    assert list(groups(["b", "a"], 2).groups) == ["a", "b"]
    assert list(groups(["a", "b"], 2).groups) == ["a", "b"]
    check_refused(lambda: groups(["c"], 1), grpc.StatusCode.FAILED_PRECONDITION, "stale_version", 309)
    check_refused(lambda: groups(["c"], 2), grpc.StatusCode.FAILED_PRECONDITION, "stale_version", 309)
    check_refused(lambda: groups(["c"], 0), INVALID, "invalid_option", 104)
    user = backend.ask("GetUser", audience_pb2.GetUserRequest(user="ada"))
    assert (list(user.groups), user.version) == (["a", "b"], 2)


def test_p4_5_the_audience_can_be_asked_for_before_the_push(backend, devices):
    """P4.4, P4.5: attributes and topics decide; those who are told are those who receive."""
    old = devices(device="old").open(attributes={"platform": "ios", "app_version": "2.3"})
    new = devices(device="new").open(attributes={"platform": "ios", "app_version": "2.10"})
    bare = devices(user="bob").open()
    wanted = "platform == 'ios' && app_version >= '2.4'"
    seen = backend.ask("GetAudience", audience_pb2.GetAudienceRequest(condition=wanted, limit=10))
    assert (seen.count, seen.users, seen.online) == (1, 1, 1)
    assert [(line.user, line.device, line.online) for line in seen.page] == [("ada", "new", True)]
    assert backend.push(condition(wanted), b"upgrade").audience == 1
    backend.push(condition("!('nothing' in topics)"), b"all")
    assert new.payloads(2) == [b"upgrade", b"all"]
    assert (old.payloads(1), bare.payloads(1)) == ([b"all"], [b"all"])
    bad = refusal(lambda: backend.push(condition("'a' in topics && 'b' in topics || 'c' in topics")))
    assert (bad.status, bad.code, bad.errno) == (INVALID, "invalid_condition", "114"), bad


def test_a_push_to_many_and_one_of_many_devices(backend, devices):
    """Each user gets a message of its own; of any device the first that acks takes it."""
    phone, tablet, bob = devices().open(), devices(device="tablet").open(), devices(user="bob").open()
    request = backend_pb2.PushUsersRequest(users=["ada", "bob", "a b"], push=backend_pb2.PushRequest(payload=b"1"))
    outcomes = backend.stub.PushUsers(request, metadata=backend.key, timeout=SOON).outcomes
    assert [outcome.user for outcome in outcomes] == ["ada", "bob", "a b"]
    assert outcomes[2].error.code == "invalid_name"
    assert (message_id(bob.push()), bob.welcome.topics) == (outcomes[1].accepted.id, [])
    phone.ack_push(phone.push())
    tablet.ack_push(tablet.push())
    id = backend.push(any_of("ada"), b"ring").id
    tablet.push()
    phone.ack_push(phone.push())
    gone = tablet.push()
    assert gone.HasField("dismissal") and str(uuid.UUID(bytes=gone.dismissal.id)) == id
    assert gone.dismissal.reason == device_pb2.Dismissal.REASON_TAKEN
    assert backend.message(id).state == State.STATE_TAKEN


def test_a_schedule_that_is_cancelled_and_one_that_is_not(gateway, backend, device):
    """By gRPC and by curl; SIGKILL changes nothing."""
    device.open()
    far = int(time.time() * 1000) + 86_400_000
    late = backend.push("ada", b"late", send_at_ms=far)
    assert (late.offset, late.send_at_ms) == (0, far)
    api = Json(gateway)
    soon = api.push({"user": "ada"}, payload="soon", send_at_ms=int(time.time() * 1000) + 500)
    assert soon.status == 201 and soon.json()["offset"] == 0
    assert device.push().payload == b"soon"
    gateway.kill()
    gateway.start()
    again = Backend(gateway)
    try:
        assert again.message(late.id).state == State.STATE_SCHEDULED
        answer = Json(gateway).call(f"/v1/messages/{late.id}", "-X", "DELETE")
        assert (answer.status, answer.json()) == (200, {"state": "cancelled", "cancelled": True})
        assert not again.cancel(late.id).cancelled
        assert again.message(late.id).state == State.STATE_CANCELLED
    finally:
        again.close()


def test_json_refuses_in_the_one_shape_of_all_errors(gateway):
    """Names, bounds, methods and keys."""
    api = Json(gateway)
    check_error(api.call("/v1/groups/a%20b", "-X", "PUT"), 400, 103, "invalid_name")
    check_error(api.call("/v1/groups/nobody"), 404, 307, "group_not_found")
    check_error(api.call("/v1/groups?limit=5000"), 400, 104, "invalid_option")
    check_error(api.call("/v1/groups?lmit=5"), 400, 101, "malformed")
    check_error(api.call("/v1/users/ada/groups", "-X", "PUT", data={"version": 1}), 400, 101, "malformed")
    check_error(api.call("/v1/audience"), 400, 102, "invalid_target")
    check_error(api.call("/v1/audience?condition=x"), 400, 114, "invalid_condition")
    wrong = api.call("/v1/groups/a/members", "-X", "PUT", data={})
    check_error(wrong, 405, 113, "method_not_allowed")
    assert sorted(wrong.headers["allow"].split(",")) == ["GET", "HEAD", "POST"]
    for path in ("/v1/groups", "/v1/groups/a", "/v1/groups/a/members", "/v1/users/ada", "/v1/topics/a", "/v1/audience"):
        check_error(Json(gateway, key="").call(path), 401, 201, "missing_credentials")
        check_error(Json(gateway, key="x" * 40).call(path), 401, 202, "invalid_credentials")


def test_grpc_refuses_a_method_that_is_not_there_and_a_key_that_is_not_good(gateway):
    """As the other services do."""
    stranger = Backend(gateway, key="x" * 40)
    try:
        unauthenticated = grpc.StatusCode.UNAUTHENTICATED
        call = lambda: stranger.ask("GetGroup", audience_pb2.GetGroupRequest(name="a"))  # noqa: E731
        check_refused(call, unauthenticated, "invalid_credentials", 202)
        check_refused(lambda: stranger.change_members([("a", ["b"], [])]), unauthenticated, "invalid_credentials", 202)
        unknown = stranger.channel.unary_unary("/pushline.v1.Audience/Nothing")
        check_refused(lambda: unknown(b"", timeout=SOON), grpc.StatusCode.UNIMPLEMENTED, "unknown_method", 112)
    finally:
        stranger.close()
