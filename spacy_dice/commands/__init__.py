"""The functions behind `python -m spacy dice ...`, which work without a command line.

Data flow: `config` reads, `apply` edits and `check` judges a config; `formats` reads annotated
texts, for `imbalance` and `comparison`; `curves` draws what loggers wrote; `losses` lists losses.
"""
