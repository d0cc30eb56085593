"""The compiled part of text: bytes checked, split, hashed, counted and encoded; batches filled from ids."""

from fastlm.errors import compiled_modules

with compiled_modules(__name__):
    import fastlm.text.scan.table  # noqa: F401  # where this one is, the others are
