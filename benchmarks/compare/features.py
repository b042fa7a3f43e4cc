"""What a frozen transformer makes of a corpus: rows of features and their classes.

Of each token its first piece; of a text the mean over its tokens. Kept in a folder, for it is slow.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy
import torch

from corpora import in_spacy

from .scores import spans


class Part(NamedTuple):
    """A split: features ``(rows, width)``, the class of each row, and rows of each sentence."""

    x: torch.Tensor
    y: torch.Tensor
    lengths: List[int]

    def rows(self, sentences: Sequence[int]) -> torch.Tensor:
        """The rows of some sentences."""
        ends = numpy.cumsum(self.lengths)
        return torch.cat([torch.arange(ends[j] - self.lengths[j], ends[j]) for j in sentences])

    def sample(self, n: Optional[int]) -> "Part":
        """So many sentences, drawn; None is all."""
        if n is None:
            return self
        chosen = torch.randperm(len(self.lengths))[:n].tolist()
        rows = self.rows(chosen)
        return Part(self.x[rows], self.y[rows], [self.lengths[j] for j in chosen])


class Task(NamedTuple):
    """A corpus. kind: "entities", "tags" or "texts"."""

    kind: str
    names: List[str]
    parts: Dict[str, Part]

    def found(self, part: Part, ids: Sequence[int]) -> Set[Tuple]:
        """What a class for each row says: entities, or rows and their classes; where the truth
        is a class that training data does not have, nothing."""
        if self.kind == "entities":
            return set(spans([self.names[i] if i >= 0 else "O" for i in ids], part.lengths))
        known = (part.y >= 0).tolist()
        return {(row, self.names[i]) for row, i in enumerate(ids) if known[row]}


def read(folder: Path, transformer: str, cache: Path) -> Task:
    """The corpus of a folder, by what a transformer makes of it; kept in cache."""
    path = cache / f"{folder.name}.pt"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        torch.save(_read(folder, transformer), path)
    kind, names, parts = torch.load(path)
    return Task(kind, names, {s: Part(x.float(), y, n) for s, (x, y, n) in parts.items()})


def _read(folder: Path, transformer: str) -> Any:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(transformer, add_prefix_space=True)
    model = AutoModel.from_pretrained(transformer).eval()
    docs = {split: list(of_split) for split, of_split in in_spacy.splits(folder).items()}
    first = docs["train"][0]
    kind = "texts" if first.cats else "tags" if first.has_annotation("TAG") else "entities"
    labels = {split: [_labels(doc, kind) for doc in of] for split, of in docs.items()}
    counts = Counter(label for row in labels["train"] for label in row)
    # The background, or the most frequent class, comes first.
    names = [name for name, _ in counts.most_common()]
    parts = {}
    for split, of_split in docs.items():
        x = torch.cat([_features(tokenizer, model, doc, kind) for doc in of_split]).half()
        ids = [names.index(n) if n in names else -1 for row in labels[split] for n in row]
        parts[split] = (x, torch.tensor(ids), [len(row) for row in labels[split]])
    return kind, names, parts


def _labels(doc: Any, kind: str) -> List[str]:
    if kind == "texts":
        return [max(doc.cats, key=doc.cats.get)]
    if kind == "tags":
        return [token.tag_ for token in doc]
    return [f"{t.ent_iob_}-{t.ent_type_}" if t.ent_type_ else "O" for t in doc]


@torch.no_grad()
def _features(tokenizer: Any, model: Any, doc: Any, kind: str) -> torch.Tensor:
    """``(tokens, width)``: of each token its first piece; of a text the mean, ``(1, width)``."""
    words = [token.text for token in doc]
    pieces = tokenizer(
        words, is_split_into_words=True, truncation=True, max_length=512, return_tensors="pt"
    )
    hidden = model(**pieces).last_hidden_state[0]
    if kind == "texts":
        return hidden.mean(dim=0, keepdim=True)
    x = torch.zeros(len(words), hidden.shape[1])
    for row, word in reversed(list(enumerate(pieces.word_ids()))):
        if word is not None:
            x[word] = hidden[row]
    return x
