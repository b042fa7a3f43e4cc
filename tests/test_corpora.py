"""Reading, downloading and generating corpora."""

import hashlib
import http.server
import threading

import pytest
import spacy
from spacy.tokens import DocBin

from corpora import columns, folders, generated, in_spacy, messages, wnut17


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


def test_write_columns(tmp_path):
    sentences = [(["Ann", "Lee", "left"], ["B-person", "I-person", "O"])] * 2
    assert in_spacy.write(sentences, tmp_path / "a/x.spacy") == 2
    (doc, _) = read(tmp_path / "a/x.spacy")
    assert [(e.text, e.label_) for e in doc.ents] == [("Ann Lee", "person")]
    assert [(e.text, e.label_) for e in doc.spans["sc"]] == [("Ann Lee", "person")]


def read(path):
    return list(DocBin().from_disk(path).get_docs(spacy.blank("en").vocab))


def test_a_folder_of_columns(tmp_path):
    sizes = in_spacy.write_folder(generated.write(tmp_path / "in"), tmp_path / "out", limit=7)
    assert sizes == {"train": 7, "dev": 120, "test": 120}
    assert len(read(tmp_path / "out/train.spacy")) == 7


CONLLU = """# text = Dogs bark
1	Dogs	dog	NOUN	PL-NOM	Number=Plur	2	nsubj	_	_
2	bark	bark	VERB	PRES	Mood=Ind|Tense=Pres	0	root	_	_

# text = No
1	No	no	INTJ	_	_	0	root	_	_

"""


def test_a_folder_of_universal_dependencies(tmp_path):
    for split in folders.SPLITS:
        (tmp_path / f"en-ud-{split}.conllu").write_text(CONLLU)
    assert in_spacy.write_folder(tmp_path, tmp_path / "out") == {"train": 2, "dev": 2, "test": 2}
    dogs, no = read(tmp_path / "out/dev.spacy")
    assert [t.tag_ for t in dogs] == ["NOUN", "VERB"] and [t.tag_ for t in no] == ["INTJ"]
    assert [t.lemma_ for t in dogs] == ["dog", "bark"] and dogs[0].head.i == 1


def test_a_folder_of_labelled_texts(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    rows = [f"{'spam' if i % 5 == 0 else 'ham'}\tmessage {i}" for i in range(100)]
    (folder / "sms.tsv").write_text("Label\tSMS\n" + "\n".join(rows) + "\n")
    assert in_spacy.write_folder(folder, tmp_path / "out") == {"train": 70, "dev": 10, "test": 20}
    docs = [doc for split in folders.SPLITS for doc in read(tmp_path / f"out/{split}.spacy")]
    assert sorted(doc.text for doc in docs) == sorted(row.split("\t")[1] for row in rows)
    for doc in docs:
        spam = int(doc[1].text) % 5 == 0
        assert doc.cats == {"ham": float(not spam), "spam": float(spam)}
    again = messages.docs(folder / "sms.tsv")
    assert [d.text for d in again["train"]] == [d.text for d in docs[:70]] != sorted(rows[:70])
    (folder / "sms.tsv").write_text("Label\tSMS\nham no tab\n")
    with pytest.raises(ValueError, match="sms.tsv, line 2: expected label TAB text"):
        messages.read(folder / "sms.tsv")


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold one file for each of train, dev, test"):
        in_spacy.write_folder(tmp_path, tmp_path / "out")


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
