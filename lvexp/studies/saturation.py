"""Does the encoder's state differ between texts? Trains for some steps and measures it; see docs/remedies.md.

    scripts/saturation experiment=remedies anneal.beta=0
    scripts/saturation experiment=remedies anneal.beta=0 encoder.norm=true --steps 450 --every 150

Each time it prints, over the first test texts, the distortion, the rate, the standard deviation over texts of the state
(before a layer norm, if there is one) and the mean size of its entries, and the mean size of the entries of z. A state
near ±1 that is the same for all texts carries no information to z, and no gradient back.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import warnings
from typing import Any

import lightning as L
import torch
from torch import nn

from lvexp import build
from lvexp.errors import ConfigError
from lvexp.networks.recurrent import RecurrentEncoder
from lvexp.studies.composed import composed
from lvexp.training.steps import Seeds

BATCHES = 12  # of test texts


class Look(L.Callback):
    """Prints a line every so many steps."""

    def __init__(self, loader: Any, every: int):
        self.batches, self.every = list(itertools.islice(loader, BATCHES)), every

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step % self.every:
            return
        model = pl_module.model
        model.eval()
        norm, model.encoder.norm = model.encoder.norm, nn.Identity()
        state = torch.cat([model.read(batch).features for batch in self.batches])
        model.encoder.norm = norm
        terms = [model.terms(batch) for batch in self.batches]
        model.train()
        distortion = torch.cat([each.distortion for each in terms]).mean()
        rates = [each.rate for each in terms if each.rate is not None]
        rate = f"{torch.cat(rates).mean():.2f}" if rates else "–"
        z = torch.cat([each.code for each in terms], 1).abs().mean()
        print(
            f"step {trainer.global_step:5d}  D {distortion:.2f}  R {rate}  sd of the state {state.std(0).mean():.4f}  "
            f"mean size {state.abs().mean():.3f}, of z {z:.3f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="as on lvexp's command line; a recurrent encoder")
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--every", type=int, default=150)
    arguments = parser.parse_intermixed_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.")
    config = composed(*arguments.overrides)
    L.seed_everything(config["seed"], verbose=False)
    data = build.data(config)
    model = build.model(config, data.vocabulary)
    if not isinstance(model.get_submodule("encoder"), RecurrentEncoder):
        raise ConfigError("this encoder has no recurrent state\ntry  encoder=lstm | encoder=gru")
    build.prepare(config, model, data.in_order("train"))
    L.Trainer(
        accelerator="cpu", devices=1, max_steps=arguments.steps, gradient_clip_val=5.0, logger=False,
        callbacks=[Seeds(config["seed"]), Look(data.test_dataloader(), arguments.every)], num_sanity_val_steps=0,
        limit_val_batches=0, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False,
    ).fit(build.training(config, model, data.steps_per_epoch), datamodule=data)  # fmt: skip
