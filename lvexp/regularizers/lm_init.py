"""Initialises the encoder from a language model."""

from __future__ import annotations

from lvexp.checks import parent
from lvexp.errors import ConfigError
from lvexp.job import checkpoints
from lvexp.models.base import LatentModel
from lvexp.regularizers.base import Regularizer


class LmInit(Regularizer):
    """The encoder starts from a trained language model (Yang et al. 2017, the rows "+ init" of their tables): its word
    vectors and recurrent layers are those of the decoder of a finished ``model=rnnlm`` run.

    Both must have the same vocabulary, cell, widths and layers. The language model is read only before training; a
    finished run no longer needs it. Its run id is part of the new run's identity, its folder is not.

    Args:
        run: folder of the language model's run.
    """

    def __init__(self, run: str):
        super().__init__()
        self.run = run

    def prepare(self, model: LatentModel) -> None:
        typed = f"regularizer.lm_init.run={self.run}"
        saved = checkpoints.read(parent.checkpoint(self.run), "the command that trained it, with force=true")
        if saved["hyper_parameters"]["vocabulary"] != model.vocabulary.to_json():
            was = saved["hyper_parameters"]["config"]["data"]["name"]
            raise ConfigError(
                f"{typed}: that language model has another vocabulary than these texts\n"
                f"try  data={was} as it had | python -m lvexp model=rnnlm on these texts, and its folder"
            )
        encoder = model.get_submodule("encoder")
        known = {name.removeprefix("decoder."): value for name, value in saved["state_dict"].items()}
        own = {name: value for name, value in encoder.state_dict().items() if not name.startswith("norm.")}
        other = [name for name, value in own.items() if name not in known or known[name].shape != value.shape]
        if other:
            raise ConfigError(
                f"{typed}: that language model has nothing of the same shape for the encoder's {', '.join(other)}\n"
                "try  the encoder's options as the language model's decoder had them"
            )
        encoder.load_state_dict({name: known[name] for name in own}, strict=False)  # a norm keeps its initial values
