"""Two processes measure what one would."""

from __future__ import annotations

import pytest
import tiny
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from lvexp.metrics.active_units import ActiveUnits
from lvexp.metrics.bound import Bound
from lvexp.metrics.mutual_information import MutualInformation


def measure(batches):
    torch.manual_seed(0)
    model = tiny.model().eval()
    bound, units, information = Bound(), ActiveUnits(), MutualInformation(model.latent.posterior)
    with torch.no_grad():
        for batch in batches:
            terms = model.terms(batch)
            bound.update(terms)
            units.update(terms.q.mean)
            information.update(terms)
    return bound.compute() | units.compute() | information.compute()


def half(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(measure(list(tiny.corpus())[rank::2]), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_measure_what_one_would(tmp_path):
    mp.spawn(half, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first == second
    whole = measure(tiny.corpus())
    assert first["sentences"] == first["mi_n"] == 11
    assert first["active_units"] == whole["active_units"]
    assert first["variance"] == pytest.approx(whole["variance"])
    assert first["rate_per_dimension"] == pytest.approx(whole["rate_per_dimension"], rel=1e-5)
    assert first["rate"] == pytest.approx(whole["rate"], rel=1e-5)
    assert first["tokens"] == whole["tokens"]
    assert 0 < first["mi"] < 2.4
