"""The special tokens of a vocabulary. Free of torch, so that data code starts fast."""

from __future__ import annotations

import dataclasses

PAD, BOS, EOS, UNK = 0, 1, 2, 3
TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")


@dataclasses.dataclass(frozen=True)
class Special:
    """Ids of the special tokens. Those of our own vocabularies are 0 to 3; a pretrained tokenizer has its own.

    Attributes:
        pad: padding. bos, eos: begin and end of a text. unk: an unknown word.
    """

    pad: int = PAD
    bos: int = BOS
    eos: int = EOS
    unk: int = UNK

    @property
    def silent(self) -> tuple[int, int, int]:
        """The tokens that are no words: all but the unknown one."""
        return self.pad, self.bos, self.eos


#: of our own vocabularies
SPECIAL = Special()
