"""Thresholds that serve F1, and probabilities that are calibrated; NumPy alone.

A model's scores become decisions in one of three ways, each with a class here:
`IndependentLabels` (a label is predicted where its score is above 0), `CompetingLabels` (the
label with the highest score is) and `DecodedLabels` (a decoder finds the best structure). Each
counts what a shift of its scores would predict, and finds shifts that serve an `Objective`.

objectives -> calibrate -> decisions <- rows, decoded; choose (estimate) -> report -> component.
`component` is what a toolkit fills in: what a component decides, from which scores, and how a shift
becomes part of it. `scores` is for those who have scores alone.
"""
