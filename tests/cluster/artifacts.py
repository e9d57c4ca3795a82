"""The jars of Hadoop: fetched once by Maven into ``.build/hadoop``, again when ``pom.xml`` changes."""

from __future__ import annotations

import fcntl
import hashlib
import pathlib
import shutil
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
POM = pathlib.Path(__file__).with_name("pom.xml")
PAUSES = (5, 20, 60, 0)  # seconds after a try that failed; a repository may be busy for a while


def hadoop_jars() -> pathlib.Path:
    """The folder with all jars. Raises ``RuntimeError`` that says what to do where Java or Maven are missing."""
    for command in ("java", "mvn"):
        if shutil.which(command) is None:
            raise RuntimeError(f"{command!r} is missing: `make test-cluster` installs it (Debian: openjdk-17-jre-headless, maven)")
    home = ROOT / ".build" / "hadoop"
    home.mkdir(parents=True, exist_ok=True)
    target = home / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            fresh = home / "fetching"
            _fetch(fresh)
            fresh.rename(target)
    return target


def _fetch(folder: pathlib.Path) -> None:
    command = ["mvn", "-B", "-q", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    for pause in PAUSES:
        shutil.rmtree(folder, ignore_errors=True)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(pause)
    raise RuntimeError(f"Maven could not fetch Hadoop's jars:\n{(done.stdout + done.stderr)[-3000:]}")


if __name__ == "__main__":
    print(hadoop_jars())
