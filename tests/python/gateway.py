"""A gateway that a test owns: the real binary on free ports, with a data folder of its own."""

import json
import os
import pathlib
import selectors
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("PUSHLINE_BIN") or str(ROOT / "target/debug/pushline")

# Longest wait for anything that should happen at once. Generous: the machine may be busy, and a wait that is met costs
# nothing.
SOON = 20.0


def environment() -> dict:
    """Nothing of ours may come from outside, and no proxy may stand between a test and its gateway."""
    foreign = ("PUSHLINE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "GRPC_PROXY")
    return {name: value for name, value in os.environ.items() if not name.upper().startswith(foreign)}


def eventually(what: str, attempt, deadline: float = SOON):
    """Asks again until the answer is true; returns it. For what the gateway tells only when asked."""
    until = time.monotonic() + deadline
    pause = threading.Event()
    while True:
        answer = attempt()
        if answer:
            return answer
        if time.monotonic() > until:
            raise AssertionError(f"not within {deadline} s: {what}")
        pause.wait(0.02)


class Gateway:
    """One data folder and, while it runs, one process on it."""

    def __init__(self, folder: pathlib.Path, **settings):
        self.folder = folder
        self.data = folder / "data"
        self.settings = settings
        self.process = None
        self.log_path = folder / "gateway.log"

    def start(self) -> "Gateway":
        """Starts the gateway and reads its first line, which tells where it listens."""
        command = [BINARY, "serve", "--json", "--listen", "127.0.0.1:0", "--backend-listen", "127.0.0.1:0"]
        command += ["--data", str(self.data)]
        for key, value in self.settings.items():
            command += ["--set", f"{key.replace('__', '.')}={value}"]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, cwd=self.folder, env=environment()
            )
        told = json.loads(self._first_line())
        self.devices = told["devices"]
        self.backend = told["backend"]
        self.backend_url = told["backend_url"]
        self.api_key = told["api_key"]
        self.admin_url = told["admin_url"]
        self.admin_key = (self.folder / told["admin_key_file"]).read_text().strip()
        self.tenant = told["tenant"]
        self.ca = pathlib.Path(told["ca"]) if os.path.isabs(told["ca"]) else self.folder / told["ca"]
        assert told["pid"] == self.process.pid
        return self

    def _first_line(self) -> bytes:
        line, until = b"", time.monotonic() + SOON
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise AssertionError(f"the gateway said nothing within {SOON} s\n{self.log()}")
                piece = os.read(self.process.stdout.fileno(), 1)
                if not piece:
                    raise AssertionError(f"the gateway ended with {self.process.wait(SOON)}\n{self.log()}")
                line += piece
        return line

    def kill(self):
        """Ends it as a crash would: SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(SOON)
            self.process.stdout.close()
            self.process = None

    def terminate(self):
        """Asks it to drain: SIGTERM. The caller waits for the process."""
        self.process.send_signal(signal.SIGTERM)

    def log(self) -> str:
        """What it has logged so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def token(self, user: str, device: str, *more: str) -> str:
        """A device's token, made by the command line as an operator would."""
        command = [BINARY, "token", "--user", user, "--device", device, "--data", str(self.data), *more]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, env=environment(), timeout=SOON)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def get(self, path: str) -> tuple:
        """Status and body of a path of the backend side that needs no key."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.backend_url + path, timeout=SOON) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """The value of a metric, named with its labels."""
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"no metric {name}")

    def assert_ready(self):
        """It takes pushes: its own canary went through append and read."""
        status, body = self.get("/readyz")
        assert status == 200 and json.loads(body)["ready"] is True, (status, body)

    def connect(self, receive_bytes=None) -> socket.socket:
        """A plain TCP connection to the device side; `receive_bytes` is what its kernel takes unread, about."""
        host, port = self.devices.rsplit(":", 1)
        connection = socket.socket()
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(SOON)
        connection.connect((host, int(port)))
        return connection

    def connect_backend(self) -> socket.socket:
        """A plain TCP connection to the backend side."""
        host, port = self.backend.rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=SOON)

    def connect_tls(self, *protocols: str, receive_bytes=None) -> ssl.SSLSocket:
        """A TLS connection to the device side that offers these protocols."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context.wrap_socket(self.connect(receive_bytes), server_hostname="localhost")
