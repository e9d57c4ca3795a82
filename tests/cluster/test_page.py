"""The page of a job on YARN, through YARN's own proxy, in a real browser, while it runs; and after."""

import json
import time
import urllib.parse
import urllib.request

import pytest

import samesum as gl
from engine import storage
from tests.browser import Browser
from tests.cluster.conftest import new_folder
from tests.cluster.test_yarn import MUSHROOM, make_cluster, wait_for_state


@pytest.fixture
def home(hdfs, yarn):
    return new_folder(hdfs)


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.headers, answer.read().decode()


def wait_for_ranks(url):
    """The parts of the page once both ranks have said what they do."""
    deadline = time.monotonic() + 180
    while True:
        parts = json.loads(fetch(urllib.parse.urljoin(url, "parts.json"))[1])["parts"]
        if parts["ranks"].count("computing</td>") + parts["ranks"].count("<td>in &#x27;") == 2 and "Learning curves" in parts["learning"]:
            return parts
        assert time.monotonic() < deadline, parts
        time.sleep(0.5)


def test_the_page_of_a_job_that_runs_and_after(home, yarn, tmp_path):
    storage.put_file(f"{home}/mushroom.csv", MUSHROOM)
    options = {"target": "label", "max_iterations": 100_000, "model_checkpoint_interval": 1000}
    job = gl.distributed.boosted_trees_classifier.submit_training_job(env=make_cluster(home), dataset=f"{home}/mushroom.csv", **options)
    try:
        wait_for_state(job, job.STATE.RUNNING, 240)
        url = job.page_url
        there = urllib.parse.urlsplit(url)
        assert there.port == urllib.parse.urlsplit(yarn.web).port
        assert there.path.startswith("/proxy/application_")
        assert "worker/" in fetch(urllib.parse.urljoin(url, "../../kv"))[1]  # skein's own page beside it
        parts = wait_for_ranks(url)
        assert "1024 MB" in parts["ranks"]
        headers, page = fetch(url)
        assert headers["Content-Type"].startswith("text/html")
        assert job.job_id in page
        with Browser(tmp_path / "browser") as browser:
            browser.show(width=390)
            browser.open(url)
            at = int(browser.ask("document.querySelector('#header p').textContent.match(/iteration (\\d+)/)[1]"))
            browser.wait(f"+document.querySelector('#header p').textContent.match(/iteration (\\d+)/)[1] > {at}")
            assert browser.ask("document.querySelector('#header h1').textContent") == job.job_id
            assert browser.ask("document.documentElement.scrollWidth") <= 390
            assert not browser.complaints
            job.cancel()
            browser.wait("document.getElementById('silence').textContent !== '' || document.title.startsWith('KILLED')")
    finally:
        job.cancel()
    assert job.page_url == f"{job.working_dir}/report.html"
    after = storage.read_bytes(job.page_url).decode()
    assert "KILLED" in after
    assert "Learning curves" in after
    assert "data-renew" not in after
