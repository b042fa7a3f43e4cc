"""What both toolkits share, on NumPy arrays alone."""
