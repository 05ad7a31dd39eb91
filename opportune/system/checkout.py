"""Locate the repository: the tooling runs from a checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
