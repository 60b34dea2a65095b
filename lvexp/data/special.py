"""The special tokens, with the same ids in every vocabulary. Free of torch, so that data code starts fast."""

from __future__ import annotations

PAD, BOS, EOS, UNK = 0, 1, 2, 3
TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")
