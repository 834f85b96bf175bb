"""Corpora, tokenizers and objectives: the text that models are trained on."""
