"""Find files of the repository that the local tools use: in a checkout at its root, else where setup.py copied them."""

from pathlib import Path

_COPIED = Path(__file__).with_name("repository")
ROOT = _COPIED if _COPIED.is_dir() else Path(__file__).resolve().parents[3]
