"""Columns of token TAB tag to spaCy's format, with spans; prints how rare labels are."""

import sys
from collections import Counter
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
        labels = Counter(span.label_ for doc in docs for span in doc.spans["sc"])
        n_tokens = sum(map(len, docs))
        print(f"{split}: {len(docs)} sentences, {n_tokens} tokens")
        for label, n in labels.most_common():
            print(f"  {label:16} {n:5}  one in {n_tokens / n:.0f} tokens")


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
