"""Columns of token TAB tag to spaCy's format, with entities as spans for spancat."""

import sys
from pathlib import Path

import spacy
from spacy.tokens import Doc, DocBin


def main(source: Path, target: Path, n_train: int) -> None:
    vocab = spacy.blank("en").vocab
    target.mkdir(exist_ok=True)
    for split in ("train", "dev", "test"):
        text = (source / f"{split}.conll").read_text(encoding="utf8")
        blocks = [
            b for b in "\n".join(line.strip() for line in text.splitlines()).split("\n\n") if b
        ]
        docs = [read(vocab, block) for block in blocks]
        docs = docs[:n_train] if split == "train" else docs
        DocBin(docs=docs).to_disk(target / f"{split}.spacy")
        print(f"{split}: {len(docs)} sentences")


def read(vocab, block: str) -> Doc:
    rows = [line.split("\t") for line in block.split("\n") if "\t" in line]
    words = [word for word, *_ in rows]
    # Of several labels the first counts; an I- that goes on with nothing begins an entity.
    tags = [tag.split(",")[0] for *_, tag in rows]
    for i, tag in enumerate(tags):
        if tag.startswith("I-") and (i == 0 or tags[i - 1][2:] != tag[2:]):
            tags[i] = "B-" + tag[2:]
    doc = Doc(vocab, words=words, ents=tags)
    doc.spans["sc"] = list(doc.ents)
    return doc


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
