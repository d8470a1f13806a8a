import pytest
from gevent import monkey

pytest.register_assert_rewrite("wippy_lua.testing")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves tests of network drivers to the run that gevent has patched (`tests.patched`)."""
    if monkey.is_module_patched("socket"):
        return
    network = [item for item in items if item.get_closest_marker("network")]
    if network:
        config.hook.pytest_deselected(items=network)
        items[:] = [item for item in items if item not in network]
