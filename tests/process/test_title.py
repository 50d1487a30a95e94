from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SHOW = "from pathlib import Path; print(Path('/proc/self/cmdline').read_text().rstrip('\\0'))"
TITLED = f"from gateway.process.title import set_title; set_title('gateway: worker 3'); {SHOW}"


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="titles are read from /proc")
class TestTitle:
    def test_is_what_ps_shows(self):
        pytest.importorskip("setproctitle")
        output = subprocess.check_output([sys.executable, "-c", TITLED], text=True)
        assert output == "gateway: worker 3\n"

    def test_without_the_library_nothing_happens(self):
        hidden = f"import sys; sys.modules['setproctitle'] = None; {TITLED}"
        output = subprocess.check_output([sys.executable, "-c", hidden], text=True)
        assert output.startswith(sys.executable + "\0-c\0")
