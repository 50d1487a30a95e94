import pytest

from tls.authority import Authority


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)
