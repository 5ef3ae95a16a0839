"""Ratings to files and from files: what trainers and other tools take, and what they give."""
