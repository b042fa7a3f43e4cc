"""Reading, downloading and generating corpora."""

import hashlib
import http.server
import threading

import pytest
import spacy
from spacy.tokens import DocBin

from corpora import (
    download,
    edos,
    emotions,
    folders,
    generated,
    in_spacy,
    messages,
    ncbi_disease,
    offsets,
    wnut17,
)
from dice_core import columns


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
    with pytest.raises(ValueError, match="x.conll, line 2: expected a token and its tag"):
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


def test_a_sample_is_drawn_from_all_of_train_anew_for_each_seed(tmp_path):
    generated.write(tmp_path / "in")
    texts = [" ".join(words) for words, _ in columns.read(tmp_path / "in/train.conll")]
    drawn = []
    for seed in (0, 0, 1):
        sizes = in_spacy.write_folder(tmp_path / "in", tmp_path / "out", limit=40, seed=seed)
        assert sizes == {"train": 40, "dev": 120, "test": 120}
        drawn.append([doc.text.strip() for doc in read(tmp_path / "out/train.spacy")])
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0]) < set(texts) and set(drawn[0]) - set(texts[:200])
    assert [doc.text.strip() for doc in read(tmp_path / "out/dev.spacy")][:1] == [
        " ".join(next(iter(columns.read(tmp_path / "in/dev.conll")))[0])
    ]
    docs = list(range(5))
    assert folders.sample(docs, None, 0) == folders.sample(docs, 9, 0) == docs
    assert sorted(set(folders.sample(docs, 3, 0))) == sorted(folders.sample(docs, 3, 0))


def test_a_folder_of_texts_with_any_number_of_labels(tmp_path):
    (tmp_path / "labels.txt").write_text("joy\nfear\nneutral\n")
    for split in folders.SPLITS:
        (tmp_path / f"{split}.tsv").write_text("so good\t0,2\tid1\nhelp!\t1\n")
    assert in_spacy.write_folder(tmp_path, tmp_path / "out")["dev"] == 2
    docs = read(tmp_path / "out/dev.spacy")
    assert [doc.text for doc in docs] == ["so good", "help!"]
    assert docs[0].cats == {"joy": 1.0, "fear": 0.0, "neutral": 1.0}
    assert docs[1].cats == {"joy": 0.0, "fear": 1.0, "neutral": 0.0}
    for line in ("no label", "text\t", "text\t3"):
        (tmp_path / "dev.tsv").write_text(f"fine\t0\n{line}\n")
        with pytest.raises(ValueError, match="dev.tsv, line 2: expected text TAB comma-joined ids"):
            list(emotions.docs(tmp_path / "dev.tsv"))


def test_a_folder_of_edos(tmp_path):
    lines = ["one\tnot sexist\tnone", "two\tsexist\t1.1 threats", "three\tsexist\t2.3 other"]
    for split in folders.SPLITS:
        (tmp_path / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    a, c = (list(in_spacy.splits(tmp_path, task)["test"]) for task in edos.TASKS)
    assert [doc.cats["sexist"] for doc in a] == [0.0, 1.0, 1.0]
    assert all(sum(doc.cats.values()) == 1 and len(doc.cats) == 2 for doc in a)
    assert [doc.text for doc in c] == ["two", "three"]
    assert c[0].cats == {"1.1 threats": 1.0, "2.3 other": 0.0}
    with pytest.raises(ValueError, match="task must be one of A, C, got 'B'"):
        list(edos.docs(tmp_path / "test.tsv", "B"))
    (tmp_path / "test.tsv").write_text("one\tsexist\n")
    with pytest.raises(ValueError, match="test.tsv, line 1: expected text TAB sexist"):
        edos.read(tmp_path / "test.tsv")


def test_a_folder_of_spans_by_code_points(tmp_path):
    """Beyond the basic plane one character is one code point; a span within a token is left out."""
    rows = [
        '{"text": "\U0001f620 you idiot !", "spans": [[6, 11]]}',
        '{"text": "an idiotic", "spans": []}',
    ]
    for split in folders.SPLITS:
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    in_spacy.write_folder(tmp_path, tmp_path / "out")
    first, second = read(tmp_path / "out/train.spacy")
    assert [(s.text, s.label_) for s in first.spans["sc"]] == [("idiot", "toxic")]
    assert "sc" in second.spans and not len(second.spans["sc"])
    (tmp_path / "dev.jsonl").write_text('{"text": "an idiotic man", "spans": [[3, 8], [11, 14]]}\n')
    with pytest.warns(
        UserWarning, match="dev.jsonl: 1 of 2 spans do not begin and end with tokens"
    ):
        (doc,) = offsets.docs(tmp_path / "dev.jsonl")
    assert [s.text for s in doc.spans["sc"]] == ["man"]
    (tmp_path / "dev.jsonl").write_text('\n{"text": "short", "spans": [[3, 8]]}\n')
    with pytest.raises(ValueError, match="dev.jsonl, line 2: the span 3 to 8 is not one"):
        offsets.docs(tmp_path / "dev.jsonl")


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
    rarer = generated.write(tmp_path / "rarer", empty=0.9) / "train.conll"
    rare = [tag for _, sentence in columns.read(rarer) for tag in sentence]
    assert 0.97 < rare.count("O") / len(rare) < 1


@pytest.fixture(params=[ncbi_disease, wnut17], ids=lambda of: of.__name__)
def home(request, monkeypatch):
    """A corpus, and a server on this machine in place of its home."""
    of = request.param
    contents = {"/" + remote: f"{remote}\tO\n".encode() for remote, _ in of.FILES.values()}
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
    monkeypatch.setattr(of, "HOME", f"http://127.0.0.1:{server.server_port}/")
    pinned = {
        split: (remote, hashlib.sha256(contents["/" + remote]).hexdigest())
        for split, (remote, _) in of.FILES.items()
    }
    monkeypatch.setattr(of, "FILES", pinned)
    yield of, contents, asked
    server.shutdown()


def test_download_once_and_verify(home, tmp_path):
    of, contents, asked = home
    files = of.locate(tmp_path / "cache")
    assert folders.files(tmp_path / "cache") == files
    assert len(asked) == 3 and of.FILES["train"][0] in files["train"].read_text()
    of.locate(tmp_path / "cache")
    assert len(asked) == 3
    files["dev"].write_text("cut short")
    of.locate(tmp_path / "cache")
    assert len(asked) == 4
    contents["/" + of.FILES["train"][0]] = b"something else"
    with pytest.raises(ValueError, match="is not the file that this project was made for"):
        of.locate(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_unreachable(tmp_path, monkeypatch):
    monkeypatch.setattr(wnut17, "HOME", "http://127.0.0.1:9/")
    with pytest.raises(download.Unreachable):
        wnut17.locate(tmp_path / "cache")
