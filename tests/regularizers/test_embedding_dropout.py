"""Whole word types hidden from the decoder."""

from __future__ import annotations

import pytest
import tiny
import torch
from helpers import Compose, checked

from lvexp.data.batch import Batch
from lvexp.data.special import BOS, EOS, PAD, UNK
from lvexp.errors import ConfigError
from lvexp.regularizers.embedding_dropout import EmbeddingDropout

TEXT = [BOS, 4, 5, 4, UNK, 6, 4, UNK, EOS, PAD]


def test_a_type_is_hidden_everywhere_in_a_text_or_nowhere():
    torch.manual_seed(0)
    remedy, tokens = EmbeddingDropout(share=0.3), torch.tensor([TEXT] * 5000)
    factors = remedy.factors(tokens)
    for places in ([1, 3, 6], [4, 7]):
        assert (factors[:, places] == factors[:, places[:1]]).all()
    assert (factors[:, [0, 8, 9]] == 1).all(), "<bos>, <eos> and padding are no words"
    words = factors[:, [1, 2, 4, 5]]
    assert words.unique().tolist() == pytest.approx([0, 1 / 0.7])
    error = 4 * (0.3 * 0.7 / words.numel()) ** 0.5
    assert (words == 0).float().mean().item() == pytest.approx(0.3, abs=error)
    assert words.mean().item() == pytest.approx(1, abs=error / 0.7), "the mean stays"
    hidden = (words == 0).float()
    assert (torch.corrcoef(hidden.T) - torch.eye(4)).abs().max() < 0.07, "types are hidden independently"


def test_texts_hide_other_words():
    torch.manual_seed(0)
    hidden = EmbeddingDropout(share=0.5).factors(torch.tensor([[BOS, 4, EOS]] * 1000))[:, 1] == 0
    assert 400 < int(hidden.sum()) < 600


def test_the_decoder_reads_zeros_for_a_hidden_word_in_training_only():
    remedy = EmbeddingDropout(share=0.5)
    model = tiny.model(remedies=[remedy])
    tokens = torch.tensor([[BOS, 4, 5, 6, 7, 8, 9]])
    table = model.decoder.embedding
    torch.manual_seed(3)
    read = table(tokens)
    torch.manual_seed(3)
    assert torch.equal(read, table.weight[tokens] * remedy.factors(tokens)[..., None])
    assert (read == 0).all(-1).any()
    assert torch.equal(model.encoder.embedding(tokens), model.encoder.embedding.weight[tokens]), "the encoder reads all"
    model.eval()
    assert torch.equal(table(tokens), table.weight[tokens])


def test_evaluation_is_as_without_it_and_training_is_not():
    batch = Batch.of([[BOS, 4, 5, 6, EOS], [BOS, 7, 8, EOS]])
    with_it, without = tiny.model(remedies=[EmbeddingDropout(share=0.5)]), tiny.model()
    code = without.eval().terms(batch).code

    def score(model) -> torch.Tensor:
        reading = model.read(batch)
        torch.manual_seed(0)
        return model.log_likelihood(batch, reading, code)

    assert not torch.allclose(score(with_it.train()), score(without.train()))
    assert torch.equal(score(with_it.eval()), score(without.eval()))
    nothing = tiny.model(remedies=[EmbeddingDropout(share=0)]).eval()
    assert torch.equal(score(nothing), score(without))


def test_a_hidden_word_gets_no_gradient_as_input():
    remedy = EmbeddingDropout(share=0.5)
    table = tiny.model(remedies=[remedy]).decoder.embedding
    tokens = torch.tensor([[BOS, 4, 5, 6, 7, 4]])
    torch.manual_seed(3)
    table(tokens).sum().backward()
    torch.manual_seed(3)
    factors = remedy.factors(tokens)[0]
    for place in (2, 3, 4):
        assert torch.allclose(table.weight.grad[tokens[0, place]], factors[place].expand(6))
    assert torch.allclose(table.weight.grad[4], 2 * factors[1].expand(6))


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_makes_no_sense_is_refused(share: float, composed: Compose):
    with pytest.raises(ConfigError, match="share"):
        EmbeddingDropout(share)
    with pytest.raises(ConfigError, match="share"):
        checked(composed("regularizer=embedding_dropout", f"regularizer.embedding_dropout.share={share}"))


def test_hiding_words_from_a_decoder_that_reads_none_is_refused(composed: Compose):
    for model in ("svae", "rnnlm", "ae"):
        checked(composed(f"model={model}", "regularizer=[embedding_dropout,word_dropout]"))
    with pytest.raises(ConfigError, match=r"(?s)inputless=true.*embedding_dropout"):
        checked(composed("decoder.inputless=true", "regularizer=embedding_dropout"))
