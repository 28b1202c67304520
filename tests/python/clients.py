"""Stock gRPC clients: a device and a backend, as anybody would write them from proto/."""

import itertools
import queue
import threading
import uuid

import grpc

from gateway import SOON
from stubs import audience_pb2, audience_pb2_grpc, backend_pb2, backend_pb2_grpc, device_pb2, device_pb2_grpc

# grpcio shares one connection among channels with equal options. One HTTP/2 connection is one session here, so each
# device has a pool of its own: one channel, one connection.
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)
NO_PROXY = ("grpc.enable_http_proxy", 0)

# Longer than any test takes: a call that nobody ends must not hang the run.
CALL_SECONDS = 110


def message_id(push) -> str:
    """The id of a delivered push as the backend side writes it."""
    return str(uuid.UUID(bytes=push.id))


class Ended:
    """How a push stream ended."""

    def __init__(self, call):
        self.status = call.code()
        self.words = call.details()
        self.trailers = dict(call.trailing_metadata() or ())


class Device:
    """A device on one channel, which is one connection."""

    def __init__(self, gateway, user="ada", device="phone", *, token=None, options=()):
        self.token = gateway.token(user, device) if token is None else token
        credentials = grpc.ssl_channel_credentials(gateway.ca.read_bytes())
        self.channel = grpc.secure_channel(gateway.devices, credentials, [OWN_CONNECTION, NO_PROXY, *options])
        self.stub = device_pb2_grpc.DeviceStub(self.channel)
        self.frames = queue.SimpleQueue()
        self.call = None
        self.welcome = None
        self.reader = None

    def start(self, **fields):
        """Calls Open and lets its frames arrive in the background."""
        fields.setdefault("token", self.token)
        self.call = self.stub.Open(device_pb2.OpenRequest(**fields), timeout=CALL_SECONDS)
        self.reader = threading.Thread(target=self._read, args=(self.call, self.frames), daemon=True)
        self.reader.start()
        return self

    @staticmethod
    def _read(call, frames):
        try:
            for response in call:
                frames.put(response)
        except grpc.RpcError:
            pass
        frames.put(Ended(call))

    def open(self, **fields) -> "Device":
        """Opens a session: the first frame must be a Welcome."""
        self.start(**fields)
        first = self.frame()
        assert not isinstance(first, Ended), (first.status, first.words, first.trailers)
        assert first.WhichOneof("frame") == "welcome", first
        self.welcome = first.welcome
        return self

    def frame(self, deadline=SOON):
        """The next frame, or how the stream ended."""
        try:
            return self.frames.get(timeout=deadline)
        except queue.Empty:
            raise AssertionError(f"no frame within {deadline} s") from None

    def push(self, deadline=SOON):
        """The next frame, which must be a push."""
        frame = self.frame(deadline)
        assert not isinstance(frame, Ended), (frame.status, frame.words)
        assert frame.WhichOneof("frame") == "push", frame
        return frame.push

    def pushes(self, count, deadline=SOON) -> list:
        """The next pushes."""
        return [self.push(deadline) for _ in range(count)]

    def payloads(self, count) -> list:
        """The payloads of the next pushes."""
        return [push.payload for push in self.pushes(count)]

    def ended(self, deadline=SOON) -> Ended:
        """How the stream ended; no other frame may come before."""
        frame = self.frame(deadline)
        assert isinstance(frame, Ended), frame
        return frame

    def ack(self, *acked, nacked=(), session=""):
        """Acks: a number is one seq, a pair a range; nacks are (seq, verdict, reason)."""
        ranges = [each if isinstance(each, tuple) else (each, each) for each in acked]
        request = device_pb2.AckRequest(
            acked=[device_pb2.SeqRange(**{"from": first, "upto": last}) for first, last in ranges],
            nacked=[device_pb2.Nack(seq=seq, verdict=verdict, reason=reason) for seq, verdict, reason in nacked],
            session=session,
        )
        return self.stub.Ack(request, timeout=SOON)

    def ack_push(self, *pushes):
        """Acks pushes, and all of them must have been in flight."""
        answer = self.ack(*(push.seq for push in pushes))
        assert answer.settled == len(pushes), answer
        return answer

    def retry(self, push, reason="busy"):
        """Nacks a push so that it comes again."""
        return self.ack(nacked=[(push.seq, device_pb2.Nack.VERDICT_RETRY, reason)])

    def reject(self, push, reason="broken"):
        """Nacks a push for good."""
        return self.ack(nacked=[(push.seq, device_pb2.Nack.VERDICT_REJECT, reason)])

    def subscribe(self, *topics) -> int:
        """Follows topics; returns how many the device follows then."""
        return self.stub.Subscribe(device_pb2.SubscribeRequest(topics=topics), timeout=SOON).subscriptions

    def unsubscribe(self, *topics) -> int:
        """Stops following topics."""
        return self.stub.Unsubscribe(device_pb2.UnsubscribeRequest(topics=topics), timeout=SOON).subscriptions

    def dismiss(self, *ids) -> int:
        """Says that the user has seen these messages; the number that was dismissed now."""
        return self.stub.Dismiss(device_pb2.DismissRequest(ids=ids), timeout=SOON).dismissed

    def update(self, **fields):
        """Changes the session."""
        return self.stub.Update(device_pb2.UpdateRequest(**fields), timeout=SOON)

    def close(self):
        """Goes away without a word: the channel is closed and its connection with it."""
        self.channel.close()
        if self.reader is not None:
            self.reader.join(SOON)


class Backend:
    """A business server."""

    def __init__(self, gateway, key=None, options=()):
        self.channel = grpc.insecure_channel(gateway.backend, [OWN_CONNECTION, NO_PROXY, *options])
        self.stub = backend_pb2_grpc.BackendStub(self.channel)
        self.people = audience_pb2_grpc.AudienceStub(self.channel)
        self.key = (("authorization", f"Bearer {gateway.api_key if key is None else key}"),)

    def push(self, target="ada", payload=b"", **fields):
        """Pushes; the target is a user's name, a pair of user and device, or a whole Target."""
        return self.stub.Push(request(target, payload, **fields), metadata=self.key, timeout=SOON)

    def push_many(self, target, payloads, **fields) -> list:
        """Pushes one after the other."""
        return [self.push(target, payload, **fields) for payload in payloads]

    def stream(self, requests) -> list:
        """Pushes all of these on one stream; returns the answers in their order."""
        numbered = (
            backend_pb2.PushStreamRequest(reference=reference, push=push)
            for reference, push in zip(itertools.count(1), requests)
        )
        return list(self.stub.PushStream(numbered, metadata=self.key, timeout=3 * SOON))

    def message(self, id):
        """What is known of a message."""
        return self.stub.GetMessage(backend_pb2.GetMessageRequest(id=id), metadata=self.key, timeout=SOON)

    def ask(self, method, request):
        """Calls a method of the audience service with a message that belongs to it."""
        return getattr(self.people, method)(request, metadata=self.key, timeout=SOON)

    def change_members(self, changes) -> list:
        """Changes members on one stream: (group, add, remove) each; returns the answers in their order."""
        requests = (
            audience_pb2.ChangeMembersRequest(group=group, add=add, remove=remove) for group, add, remove in changes
        )
        return list(self.people.ChangeMembers(requests, metadata=self.key, timeout=3 * SOON))

    def cancel(self, id, silently=False):
        """Takes a message back."""
        return self.stub.Cancel(backend_pb2.CancelRequest(id=id, silently=silently), metadata=self.key, timeout=SOON)

    def outcome(self, id, device="phone"):
        """What became of a message on one device."""
        found = [outcome for outcome in self.message(id).devices if outcome.device == device]
        assert len(found) == 1, found
        return found[0]

    def close(self):
        """Closes the channel."""
        self.channel.close()


def topic(name):
    """A topic as target."""
    return device_pb2.Target(topic=name)


def request(target="ada", payload=b"", **fields):
    """A push request, see Backend.push."""
    if isinstance(target, str):
        target = device_pb2.Target(user=target)
    elif isinstance(target, tuple):
        target = device_pb2.Target(device=device_pb2.DeviceTarget(user=target[0], device=target[1]))
    return backend_pb2.PushRequest(target=target, payload=payload, **fields)


class Refusal:
    """How a call was refused: gRPC status, stable word and number."""

    def __init__(self, error):
        trailers = dict(error.trailing_metadata() or ())
        self.status = error.code()
        self.words = error.details()
        self.code = trailers.get("pushline-code")
        self.errno = trailers.get("pushline-errno")

    def __repr__(self):
        return f"{self.status} {self.code} {self.errno}: {self.words}"


def refusal(call) -> Refusal:
    """Calls, and expects to be refused."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return Refusal(error)
    raise AssertionError(f"this must be refused, and was answered with {answer}")


def check_refused(call, status, code, errno):
    """Calls, and expects exactly this refusal, with words for humans."""
    got = refusal(call)
    assert (got.status, got.code, got.errno) == (status, code, str(errno)), got
    assert got.words, got
