"""The examples of docs/api.md and README.md, run as they stand there: what the documents say is what happens."""

import json
import re
import subprocess

import pytest

from gateway import BINARY, ROOT, SOON, environment
from test_json import Json

TEXT = (ROOT / "docs/api.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [text for language, text in BLOCKS if language == "sh"]


QUESTION, TAKE_BACK = ("-s \"$GATEWAY/v1/messages/",), ("-X DELETE", "/v1/messages/")

# What the document tells about people and topics, in its order.
PEOPLE = [
    ("/v1/push/users",),
    ("/v1/groups/beta\"",),
    ("/v1/groups/beta/members\"",),
    ("/v1/members/stream",),
    ("/v1/groups/beta/members?",),
    ("/v1/users/alice/groups",),
    ("/v1/users/alice/quiet-hours",),
    ("/v1/topics/scores",),
    ("/v1/audience",),
]

# What it tells about access, in its order.
ACCESS = [("/v1/tokens\"",), ("/v1/tokens/revoke\"",), ("/v1/enrolments\"",), ("/v1/shares\"",), ("/v1/audit?",)]

# And about tenants and their keys.
ADMIN = [("$ADMIN/v1/tenants\"",), ("$ADMIN/v1/tenants/shop/keys\"",)]


@pytest.fixture
def shell(gateway):
    """Runs a command with the variables that the document names."""

    def run(command) -> str:
        variables = {**environment(), "GATEWAY": gateway.backend_url, "KEY": gateway.api_key}
        variables |= {"ADMIN": gateway.admin_url, "ADMIN_KEY": gateway.admin_key}
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=variables, timeout=SOON)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    return run


def command(*words) -> str:
    """The one command of the document that has these words."""
    found = [text for text in COMMANDS if all(word in text for word in words)]
    assert len(found) == 1, (words, found)
    return found[0]


def test_every_command_of_the_document_is_run_here():
    """A new example needs a test."""
    tested = [("/v1/push\"",), ("/v1/push/stream",), QUESTION, TAKE_BACK, ("/readyz",), *PEOPLE, *ACCESS, *ADMIN]
    assert sorted(COMMANDS) == sorted(command(*words) for words in tested)


def test_the_push_and_the_question_of_the_document(shell, device):
    """The push arrives; a repeat is a duplicate; the question has the fields that the document lists."""
    device.open()
    head, _, body = shell(command("/v1/push\"")).replace("\r", "").partition("\n\n")
    assert head.startswith("HTTP/1.1 201 Created")
    made = json.loads(body)
    assert f"location: /v1/messages/{made['id']}" in head
    shown = next(text for language, text in BLOCKS if language == "text" and "201 Created" in text)
    documented = json.loads(shown.partition("\n\n")[2])
    assert sorted(made) == sorted(documented)
    varying = ("id", "epoch", "accepted_at_ms", "expires_at_ms")
    assert {name: made[name] for name in made if name not in varying} == {
        name: documented[name] for name in documented if name not in varying
    }
    again = shell(command("/v1/push\"")).replace("\r", "")
    assert again.startswith("HTTP/1.1 200 OK") and json.loads(again.partition("\n\n")[2])["duplicate"] is True

    question = command(*QUESTION)
    known = json.loads(shell(re.sub(r"(/v1/messages/)[0-9a-f-]{36}", rf"\g<1>{made['id']}", question)))
    shown = next(json.loads(text) for language, text in BLOCKS if language == "json" and '"devices"' in text)
    assert sorted(known) == sorted(shown)
    assert known["content"] == shown["content"]
    assert known["state"] == "stored"
    assert sorted(known["counts"]) == sorted(shown["counts"])

    taken = json.loads(shell(re.sub(r"(/v1/messages/)[0-9a-f-]{36}", rf"\g<1>{made['id']}", command(*TAKE_BACK))))
    assert taken == documented_after(command(*TAKE_BACK))


def documented_after(text):
    """The JSON that the document shows next to a command."""
    return json.loads(re.match(r"\s*```json\n(.*?)^```$", TEXT.partition(text + "```")[2], re.MULTILINE | re.DOTALL)[1])


def test_people_and_topics_of_the_document(shell):
    """Typed one after the other, the examples answer as the document shows."""
    users, made, members, stream, page, groups, quiet, scores, audience = [shell(command(*words)) for words in PEOPLE]
    outcomes = json.loads(users)["outcomes"]
    assert [outcome["user"] for outcome in outcomes] == ["bob", "no user", "carol"]
    assert [outcome.get("error", {}).get("errno") for outcome in outcomes] == [None, 103, None]
    made = json.loads(made)
    assert {**made, "created_at_ms": 0} == {**documented_after(command(*PEOPLE[1])), "created_at_ms": 0}
    assert json.loads(members) == documented_after(command(*PEOPLE[2]))
    first, second = (json.loads(line) for line in stream.splitlines())
    assert first == {"added": 2, "members": 4, "named": 2, "removed": 0}
    assert (second["error"]["error"], second["named"], second["added"]) == ("invalid_name", 3, 2)
    assert json.loads(page) == documented_after(command(*PEOPLE[4]))
    assert json.loads(groups) == documented_after(command(*PEOPLE[5]))
    assert json.loads(quiet)["quiet_hours"] == {"from": "22:00", "to": "07:00", "time_zone": "Europe/Berlin"}
    assert json.loads(scores) == documented_after(command(*PEOPLE[7]))
    seen, shown = json.loads(audience), documented_after(command(*PEOPLE[8]))
    assert sorted(seen) == sorted(shown)
    assert (seen["count"], seen["users"], seen["online"]) == (shown["count"], shown["users"], shown["online"])
    assert [sorted(line) for line in seen["page"]] == [sorted(line) for line in shown["page"]]


def alike(seen, shown, varying=()):
    """The same fields and values; what varies is of the same kind."""
    if isinstance(shown, dict):
        assert sorted(seen) == sorted(shown), (seen, shown)
        for name, value in shown.items():
            if name in varying or name.endswith("_ms") and value is not None:
                assert type(seen[name]) is type(value) and bool(seen[name]) == bool(value), (name, seen)
            else:
                alike(seen[name], value, varying)
    elif isinstance(shown, list):
        assert len(seen) == len(shown), (seen, shown)
        for one, other in zip(seen, shown):
            alike(one, other, varying)
    else:
        assert seen == shown


def test_access_of_the_document(shell):
    """Typed one after the other, the examples answer as the document shows, where the tenant allows keys of devices."""
    allow = command("$ADMIN/v1/tenants\"").partition(" -d ")[0].replace("/v1/tenants", "/v1/tenants/default")
    for words in ACCESS:
        if "enrolments" in words[0]:
            allowed = json.loads(shell(allow + """ -X PUT -d '{"login": {"device_key": true}}'"""))
            assert allowed["login"]["device_key"] is True, allowed
        seen = json.loads(shell(command(*words)))
        alike(seen, documented_after(command(*words)), ("token", "id", "code", "details", "last"))


def test_tenants_and_keys_of_the_document(shell, gateway):
    """A tenant and a key of its own, which then pushes and reads but changes nothing."""
    for words in ADMIN:
        made = json.loads(shell(command(*words)))
        alike(made, documented_after(command(*words)), ("id", "secret"))
    assert made["secret"].startswith(f"plk_{made['key']['id']}_")
    answer = Json(gateway, made["secret"]).call("/v1/push", data={"target": {"user": "ada"}, "payload": "x"})
    assert answer.status == 201
    refused = Json(gateway, made["secret"]).call("/v1/tokens", data={"user": "ada", "device": "phone"})
    assert refused.json()["error"] == "scope_missing"


def test_the_stream_of_the_document(shell):
    """One answer a line: one accepted, one refused."""
    first, second = (json.loads(line) for line in shell(command("/v1/push/stream")).splitlines())
    assert (first["reference"], first["accepted"]["log"]) == (1, "topic/news")
    assert (second["reference"], second["error"]["error"]) == (2, "invalid_name")


def test_the_probe_of_the_document(shell):
    """Ready."""
    assert json.loads(shell(command("/readyz")))["ready"] is True


def test_the_error_of_the_document(gateway):
    """The message that the document shows is the one that is given."""
    shown = next(json.loads(text) for language, text in BLOCKS if language == "json" and '"errno"' in text)
    answer = Json(gateway).call("/v1/push", data={"target": {"user": "ada"}, "paylod": "x"})
    assert answer.json() == shown


USE_IT = (ROOT / "README.md").read_text().partition("\n## Use it\n")[2].partition("\n## ")[0]

# What README types as `pushline`, with the ports of this gateway; `listen` ends after what README pushes, and the next
# command waits until it follows the topic.
TYPED = """
pushline() {
  case $1 in
    listen) "$BINARY" "$@" --gateway "$DEVICES" --count 3 > listened 2> notes &
            until grep -q follows notes; do kill -0 $! || return 1; done ;;
    push) "$BINARY" "$@" --backend "$GATEWAY" ;;
    *) "$BINARY" "$@" ;;
  esac
}
"""


def test_the_commands_of_the_readme(gateway):
    """What a newcomer types after `pushline serve`, word for word: three pushes, and the device prints them."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", USE_IT, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2 and "pushline serve" in blocks[0], blocks
    assert blocks[1].count("http://127.0.0.1:7080") == 1
    typed = TYPED + "set -e\n" + blocks[1].replace("http://127.0.0.1:7080", "$GATEWAY") + "wait\n"
    variables = {**environment(), "BINARY": BINARY, "GATEWAY": gateway.backend_url, "DEVICES": gateway.devices}
    done = subprocess.run(
        ["bash", "-c", typed], capture_output=True, text=True, env=variables, cwd=gateway.folder, timeout=SOON
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    listened = (gateway.folder / "listened").read_text()
    assert [words in listened for words in ("hello", "to all who follow")] == [True, True], listened
    assert len(listened.splitlines()) == 3, listened
