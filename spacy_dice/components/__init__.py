"""Components: each a small subclass of a stock one that overrides its loss only, and
`dice_ner`, which spaCy has no counterpart of.
"""
