"""What the losses cost: ratios to the toolkits' own, in one run."""
