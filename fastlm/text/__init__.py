"""Strings to ids and back: tokenizers, vocabularies, corpora, and batches of ids."""
