import pytest
from gevent import monkey

pytest.register_assert_rewrite("wippy_lua.testing")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what speaks to a broker where that would block the hub."""
    if monkey.is_module_patched("socket"):
        return
    network = [item for item in items if item.get_closest_marker("network")]
    if network:
        items[:] = [item for item in items if item not in network]
        config.hook.pytest_deselected(items=network)
