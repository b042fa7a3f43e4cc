"""Scripts as users have them, with our loss in them."""
