"""Wren: a small village of English, its exact judges, and the base models that grew up in it."""

from ftlab.wren.data import NAMES, rows
from ftlab.wren.family import SIZES, folder
from ftlab.wren.gold import Verdict, judge

__all__ = ["NAMES", "SIZES", "Verdict", "folder", "judge", "rows"]
