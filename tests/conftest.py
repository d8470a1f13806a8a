import pytest

pytest.register_assert_rewrite("wippy_lua.testing")
