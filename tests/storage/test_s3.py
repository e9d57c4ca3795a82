"""What S3 may answer between two questions."""

from types import SimpleNamespace

import pytest
from pyarrow import fs

from engine.errors import MissingFileError, StorageError
from engine.storage.s3 import S3Store


@pytest.fixture
def store(monkeypatch):
    """A store that is asked nothing but what the test answers."""
    answers = []

    def ask(self, verb, address, question):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(S3Store, "_ask", ask)
    monkeypatch.setattr(S3Store, "stamp", lambda self, address: ())
    return S3Store(), answers


def found(kind, name="f"):
    return SimpleNamespace(type=kind, base_name=name, size=3)


def test_a_folder_that_appears_while_it_is_listed(store):
    s3, answers = store
    answers += [MissingFileError("none"), [found(fs.FileType.Directory)], [found(fs.FileType.File, "job.json")]]
    assert [entry.name for entry in s3.list_folder("s3://b/jobs")] == ["job.json"]
    assert answers == []


def test_what_is_no_folder_and_what_is_not_there(store):
    s3, answers = store
    answers += [MissingFileError("none"), [found(fs.FileType.File)]]
    with pytest.raises(StorageError, match="no folder"):
        s3.list_folder("s3://b/jobs")
    answers += [MissingFileError("none"), [found(fs.FileType.NotFound)]]
    with pytest.raises(MissingFileError, match="none"):
        s3.list_folder("s3://b/jobs")
