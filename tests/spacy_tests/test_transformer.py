"""dice_ner and tagger on a real BERT, by local path, with our configs."""

import pytest
import spacy
import torch

from spacy_tests.helpers import invoke, paths, scores


@pytest.mark.parametrize("name, steps", [("dice_ner", 60), ("tagger", 40)])
def test_trains_on_a_transformer(name, steps, configs, corpus, tagged, small_bert, tmp_path):
    torch.set_num_threads(1)  # processes of nlp.pipe are forked
    schedule = "--training.optimizer.learn_rate"
    status, output = invoke(
        "train",
        configs / f"{name}_transformer.cfg",
        *("-o", tmp_path, *paths(tagged if name == "tagger" else corpus)),
        *("--paths.transformer", small_bert, "--corpora.dev.limit", 40),
        *("--training.max_steps", steps, "--training.eval_frequency", 20),
        *("--training.batcher.size", 150, "--training.batcher.buffer", 8),
        *(f"{schedule}.initial_rate", 0.001, f"{schedule}.warmup_steps", 5),
    )
    assert status == 0, output
    assert scores(output)[-1] > 0.9, output
    nlp = spacy.load(tmp_path / "model-best")
    words = "yesterday Barento told me that the train was late again .".split()
    docs = list(nlp.pipe([" ".join(words)] * 3, n_process=2, batch_size=2))
    if name == "dice_ner":
        assert [[e.text for e in doc.ents] for doc in docs] == [["Barento"]] * 3
        nlp.replace_listeners("transformer", "dice_ner", ["model.tok2vec"])
        nlp.remove_pipe("transformer")
        nlp.to_disk(tmp_path / "alone")
        alone = spacy.load(tmp_path / "alone")
        assert [e.text for e in alone(" ".join(words)).ents] == ["Barento"]
    else:
        assert [token.tag_ for token in docs[2]][:3] == ["WORD", "NAME", "WORD"]
