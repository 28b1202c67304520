"""Makes the gRPC stubs from proto/ with the stock compiler, anew for each run, so that none can go stale."""

import atexit
import pathlib
import shutil
import sys
import tempfile

import grpc_tools
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _generate() -> str:
    folder = tempfile.mkdtemp(prefix="pushline-stubs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    sources = sorted((ROOT / "proto").rglob("*.proto"))
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    code = protoc.main(
        ["protoc", f"-I{ROOT / 'proto'}", f"-I{well_known}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
        + [str(source) for source in sources]
    )
    if code != 0:
        raise RuntimeError(f"protoc ended with {code}")
    return folder


sys.path.insert(0, _generate())

from pushline.v1 import audience_pb2, audience_pb2_grpc, backend_pb2, backend_pb2_grpc  # noqa: E402, F401
from pushline.v1 import device_pb2, device_pb2_grpc  # noqa: E402, F401
