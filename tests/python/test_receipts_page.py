"""The programs of docs/receipts.md: they take what a real gateway posts, and nothing that it did not sign."""

import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from socket import socket

import pytest

from gateway import BINARY, ROOT, SOON, environment

TEXT = (ROOT / "docs/receipts.md").read_text()
PROGRAMS = dict(re.findall(r"^```(?:python|js) (\S+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"


def free_port() -> int:
    """A port where nobody listens."""
    with socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def program(folder, name, port):
    """A program of the page, when it listens."""
    for known, text in PROGRAMS.items():
        (folder / known).write_text(text)
    start = [shutil.which("node"), name] if name.endswith(".mjs") else [sys.executable, "-u", name]
    variables = {**os.environ, "PORT": str(port), "WEBHOOK_SECRET": SECRET}
    running = subprocess.Popen(start, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True)
    try:
        while True:
            assert running.poll() is None, name
            try:
                post(port, b"{}", {})
            except urllib.error.HTTPError as refusal:
                assert refusal.code == 401, "what nobody signed is refused"
                break
            except urllib.error.URLError:
                continue
        yield running
    finally:
        running.kill()
        running.wait()


def post(port, body, headers):
    """Posts as anybody could."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", data=body, headers=headers, method="POST")
    return urllib.request.urlopen(request, timeout=SOON)


def pushline(gateway, *arguments) -> str:
    """Runs a command against the gateway."""
    variables = {**environment(), "PUSHLINE_KEY": gateway.api_key, "PUSHLINE_BACKEND": gateway.backend_url}
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, env=variables, timeout=SOON)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


NODE = pytest.param("receiver.mjs", marks=pytest.mark.skipif(shutil.which("node") is None, reason="no node here"))


@pytest.mark.parametrize("name", ["receiver.py", NODE])
def test_the_receivers_take_what_the_gateway_signed(gateway, tmp_path, name):
    """The event of a push is printed; a request without a good signature is answered with 401."""
    port = free_port()
    with program(tmp_path, name, port) as running:
        pushline(gateway, "webhook", "set", "receipts", f"http://127.0.0.1:{port}/hooks", "--secret", SECRET)
        pushline(gateway, "push", "--user", "ada", "hello")
        first = running.stdout.readline().split()
        assert first[1] == "accepted" and len(first[-1]) == 36, first
        forged = {"webhook-id": "x", "webhook-timestamp": "1795327806", "webhook-signature": "v1,AAAA"}
        with pytest.raises(urllib.error.HTTPError) as refusal:
            post(port, b'{"events": []}', forged)
        assert refusal.value.code == 401


def test_the_bridge_takes_what_no_device_acked(gateway, tmp_path):
    """P4.8: handed over once, and its word for the outcome stands in the receipt."""
    port = free_port()
    with program(tmp_path, "bridge.py", port) as running:
        pushline(gateway, "webhook", "set", "fallback", f"http://127.0.0.1:{port}/bridge", "--secret", SECRET)
        pushline(gateway, "push", "--user", "ada", "--fallback-after", "1s", "--content-type", "text/plain", "taxi")
        assert running.stdout.readline() == "mail to ada: taxi\n"
        told = ""
        while "handed_off" not in told:
            told = pushline(gateway, "receipts")
        assert "mailed" in told, told
