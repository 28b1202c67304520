"""Each test has a gateway of its own, and clients that are closed when it ends."""

import pytest

from clients import Backend, Device
from gateway import Gateway


@pytest.fixture
def gateways(tmp_path):
    """Makes gateways with options, given as section__name=value; started at once."""
    made = []

    def make(name="gateway", **settings) -> Gateway:
        folder = tmp_path / name
        folder.mkdir()
        gateway = Gateway(folder, **settings)
        made.append(gateway)
        return gateway.start()

    yield make
    for gateway in made:
        gateway.kill()
        log = gateway.log()
        if log:
            print(f"--- log of {gateway.folder.name}\n{log[-8000:]}")
        assert "panicked" not in log


@pytest.fixture
def gateway(gateways, request) -> Gateway:
    """A gateway with the options of the test's `settings` mark."""
    mark = request.node.get_closest_marker("settings")
    return gateways(**(mark.kwargs if mark else {}))


@pytest.fixture
def devices(gateway):
    """Makes devices of the test's gateway."""
    made = []

    def make(user="ada", device="phone", **fields) -> Device:
        made.append(Device(fields.pop("gateway", gateway), user, device, **fields))
        return made[-1]

    make.made = made
    yield make
    for device in made:
        device.close()


@pytest.fixture
def device(devices) -> Device:
    """The phone of ada, not yet open."""
    return devices()


@pytest.fixture
def backend(gateway):
    """A business server of the gateway's own tenant."""
    backend = Backend(gateway)
    yield backend
    backend.close()


def pytest_configure(config):
    config.addinivalue_line("markers", "settings(**options): options of the test's gateway, as section__name=value")
