"""curl as HTTP client: what an operator or a shell script sends, and what comes back."""

import json
import pathlib
import subprocess
import tempfile

from gateway import SOON, environment


class Answer:
    """Status, headers (names in lower case) and body of the last answer."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        """The body, which must be JSON and say so."""
        assert self.headers.get("content-type") == "application/json", self.headers
        return json.loads(self.body)

    def lines(self):
        """The body, which must be lines of JSON."""
        assert self.headers.get("content-type") == "application/x-ndjson", self.headers
        return [json.loads(line) for line in self.body.splitlines()]

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:500]!r}"


def curl(*arguments, data=None, deadline=SOON) -> Answer:
    """Runs curl; `data` is the body, given as it is."""
    with tempfile.TemporaryDirectory() as folder:
        heads = pathlib.Path(folder, "heads")
        command = ["curl", "-sS", "--noproxy", "*", "--max-time", str(deadline), "-D", str(heads), *arguments]
        if data is not None:
            command += ["--data-binary", "@-"]
        done = subprocess.run(command, input=data, capture_output=True, env=environment(), timeout=deadline + 5)
        assert done.returncode == 0, (done.returncode, done.stderr)
        # The last block: the ones before it are interim answers such as 100.
        block = heads.read_text().strip().split("\r\n\r\n")[-1].split("\n\n")[-1].splitlines()
    status = int(block[0].split()[1])
    pairs = (line.split(":", 1) for line in block[1:] if ":" in line)
    return Answer(status, {name.strip().lower(): value.strip() for name, value in pairs}, done.stdout)
