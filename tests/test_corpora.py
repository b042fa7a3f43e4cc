"""Reading, downloading and generating corpora."""

import hashlib
import http.server
import threading

import pytest
import spacy
from spacy.tokens import DocBin

from corpora import columns, generated, wnut17


def test_read_columns(tmp_path):
    path = tmp_path / "x.conll"
    path.write_text(
        "Ann\tB-person\nLee\tI-person\n\t\nin\tO\nRome\tB-location,I-group\n\n\nx\tI-group\ny\tI-person\n",
        encoding="utf8",
    )
    assert list(columns.read(path)) == [
        (["Ann", "Lee"], ["B-person", "I-person"]),
        (["in", "Rome"], ["O", "B-location"]),
        (["x", "y"], ["B-group", "B-person"]),
    ]
    path.write_text("Ann\tO\nLee\n")
    with pytest.raises(ValueError, match="x.conll, line 2: expected token TAB tag"):
        list(columns.read(path))


def test_write_and_limit(tmp_path):
    sentences = [(["Ann", "Lee", "left"], ["B-person", "I-person", "O"])] * 3
    assert columns.write(sentences, tmp_path / "a/x.spacy", limit=2) == 2
    (doc, _) = DocBin().from_disk(tmp_path / "a/x.spacy").get_docs(spacy.blank("en").vocab)
    assert [(e.text, e.label_) for e in doc.ents] == [("Ann Lee", "person")]


def test_generated_is_the_same_for_the_same_seed(tmp_path):
    one, two, other = (generated.write(tmp_path / str(i), seed=i // 2) for i in range(3))
    assert (one / "train.conll").read_bytes() == (two / "train.conll").read_bytes()
    assert (one / "train.conll").read_bytes() != (other / "train.conll").read_bytes()
    tags = [tag for _, sentence in columns.read(one / "train.conll") for tag in sentence]
    assert {tag[2:] for tag in tags if tag != "O"} == {"person", "city", "product"}
    assert 0.85 < tags.count("O") / len(tags) < 0.95


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A server on this machine in place of the corpus's home."""
    contents = {"/" + remote: f"{remote}\tO\n".encode() for remote, _, _ in wnut17.FILES.values()}
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(contents[self.path])

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(wnut17, "HOME", f"http://127.0.0.1:{server.server_port}/")
    pinned = {
        split: (remote, name, hashlib.sha256(contents["/" + remote]).hexdigest())
        for split, (remote, name, _) in wnut17.FILES.items()
    }
    monkeypatch.setattr(wnut17, "FILES", pinned)
    yield contents, asked
    server.shutdown()


def test_download_once_and_verify(home, tmp_path):
    contents, asked = home
    files = wnut17.locate(tmp_path / "cache")
    assert {split: path.name for split, path in files.items()} == {
        "train": "train.conll",
        "dev": "dev.conll",
        "test": "test.conll",
    }
    assert len(asked) == 3 and b"wnut17train" in files["train"].read_bytes()
    wnut17.locate(tmp_path / "cache")
    assert len(asked) == 3
    files["dev"].write_text("cut short")
    wnut17.locate(tmp_path / "cache")
    assert len(asked) == 4
    contents["/wnut17train.conll"] = b"something else"
    with pytest.raises(ValueError, match="is not the file that this project was made for"):
        wnut17.locate(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_unreachable_and_local(tmp_path, monkeypatch):
    monkeypatch.setattr(wnut17, "HOME", "http://127.0.0.1:9/")
    with pytest.raises(wnut17.Unreachable):
        wnut17.locate(tmp_path / "cache")
    folder = generated.write(tmp_path / "local")
    assert wnut17.locate(tmp_path / "cache", folder)["dev"] == folder / "dev.conll"
    (folder / "dev.conll").rename(folder / "emerging.dev.conll")
    assert wnut17.locate(tmp_path / "cache", folder)["dev"] == folder / "emerging.dev.conll"
    (folder / "test.conll").unlink()
    with pytest.raises(FileNotFoundError, match="has no test.conll or emerging.test.annotated"):
        wnut17.locate(tmp_path / "cache", folder)
