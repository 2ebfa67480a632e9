"""What is committed of the console's libraries is what their packages give."""

import subprocess
from pathlib import Path

WEB = Path(__file__).resolve().parents[2] / "agent/console/web"


def test_the_committed_bundle_is_made_of_the_locked_packages(tmp_path):
    subprocess.run([WEB / "bundle.sh", tmp_path], check=True, timeout=120, capture_output=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in (WEB / "vendor").iterdir()}
