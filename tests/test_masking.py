"""Secrets in text that others will read: hidden, and nothing else is."""

import time

import pytest

from engine.masking import HIDDEN, mask, mask_text

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{SECRET}@host/data.csv",
        f"https://user:a/{SECRET}@host/data.csv",
        f"s3://{SECRET}@bucket/key",
        f"https://bucket.s3.amazonaws.com/key?X-Amz-Signature={SECRET}&X-Amz-Date=1",
        f"/webhdfs/v1/data?op=OPEN&delegation={SECRET}&offset=0",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"export MY_TOKEN='{SECRET}'",
        f'{{"api_key": "{SECRET}", "rows": 4}}',
        f"password: {SECRET}",
        f"run.py --db-password {SECRET} --rows 4",
        f"--token={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"authorization: {SECRET}",
        f"sent Negotiate {SECRET}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
    ],
)
def test_secrets_go(text):
    assert SECRET not in mask_text(text)
    assert HIDDEN in mask_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "hdfs://name:8020/user/ada/data.csv",
        "/home/ada/jobs/dml_job_1/checkpoints/model_checkpoint_5",
        "| 10        | 0.324151     | 0.999631          | 0.0241303         |",
        "rank 1 exceeded its memory: 514.6 MB of 512 MB physical memory used (-104); give worker_memory=704 or more",
        "target 'lable' is not a column of the data (did you mean 'label'?); columns: tokens, passwords",
        "http://host:8088/proxy/application_1_0001/",
        "mail ada@example.org",
    ],
)
def test_all_else_stays(text):
    assert mask_text(text) == text


def test_what_the_environment_has_under_a_secret_name(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "xyzzy-plugh")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    assert mask_text("it said xyzzy-plugh, abc") == f"it said {HIDDEN}, abc"


def test_values_of_json():
    found = mask({"token": SECRET, "rows": 4, "args": ["--password", SECRET, "-n", "4"], "nested": {"paths": [f"http://a:{SECRET}@b/c"]}})
    assert found == {"token": HIDDEN, "rows": 4, "args": ["--password", HIDDEN, "-n", "4"], "nested": {"paths": [f"http://{HIDDEN}@b/c"]}}
    assert mask({"token_count": 4, "credentials": None}) == {"token_count": 4, "credentials": None}


@pytest.mark.parametrize("text", ["a" * 100_000, "a.b-" * 25_000, "token" * 20_000, "http" * 25_000, "://" * 30_000, "-----BEGIN " * 9_000])
def test_a_long_word_is_no_long_work(text):
    began = time.process_time()
    mask_text(text)
    assert time.process_time() - began < 5.0
