"""The compiled part of text: bytes checked, split, hashed, counted and encoded; batches filled from ids."""
