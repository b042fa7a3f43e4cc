"""Reading comprehension: questions of docs, answers in windows of word pieces, SQuAD's files and
metric, and the encoders of pairs of texts.
"""
