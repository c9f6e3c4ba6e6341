"""Measurements; nothing in the app imports them."""
