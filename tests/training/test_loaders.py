import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform

from nnunet_da.training.loaders import PairedLoader, PooledDataset, RandomStream, mark_padding, worker_seeds


def test_padding_is_marked_before_its_label_is_removed():
    transforms = mark_padding(ComposeTransforms([RemoveLabelTansform(-1, 0)]))
    segmentation = torch.tensor([[[-1, 0], [1, -1]]], dtype=torch.int16)
    out = transforms(image=torch.full((1, 2, 2), 5.0), segmentation=segmentation)
    assert out["image"].tolist() == [[[5, 5], [5, 5]], [[0, 1], [1, 0]]]
    assert out["segmentation"].tolist() == [[[0, 0], [1, 0]]]


def test_stream_is_the_same_whoever_else_draws():
    def draws():
        while True:
            yield {"numpy": np.random.rand(), "torch": torch.rand(1).item()}

    quiet, disturbed = RandomStream(draws(), seed=3), RandomStream(draws(), seed=3)
    alone = [next(quiet) for _ in range(3)]
    together = []
    for _ in range(3):
        np.random.rand(5), torch.rand(5)
        together.append(next(disturbed))
    assert alone == together
    assert len({draw["torch"] for draw in alone}) == 3


def test_stream_leaves_the_global_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    next(RandomStream(iter([{"x": torch.rand(9)}, {}]), seed=1))
    torch.manual_seed(0)
    stream = RandomStream((({"x": torch.rand(9)}) for _ in range(2)), seed=1)
    next(stream)
    assert torch.equal(torch.rand(1), expected)


def test_workers_of_all_streams_have_seeds_of_their_own():
    seeds = [seed for stream in (1, 2, 3) for rank in (0, 1) for seed in worker_seeds(12, 7, rank, stream)]
    assert len(set(seeds)) == len(seeds) == 72
    assert worker_seeds(0, 7, 0, 1) == worker_seeds(1, 7, 0, 1)


def test_pooled_dataset_names_cases_by_their_dataset():
    class Dataset:
        def __init__(self, cases):
            self.identifiers = cases

        def load_case(self, case):
            return f"loaded {case}"

    pooled = PooledDataset({"B": Dataset(["x", "y"]), "C": Dataset(["x"])})
    assert pooled.identifiers == ["B/x", "B/y", "C/x"]
    assert pooled.load_case("C/x") == "loaded x"


def test_pairs_keep_the_source_keys():
    pair = next(PairedLoader(iter([{"data": 1, "target": 2, "keys": ["a"]}]), iter([{"data": 3, "target": 4, "keys": ["b"]}])))
    assert pair == {"data": 1, "target": 2, "keys": ["a"], "data_target": 3, "keys_target": ["b"]}


@pytest.mark.parametrize("plans", ["PFDAformerDemoPlans", "UDAPlans"])
def test_arms_see_the_same_source_batches(make_trainer, plans):
    flags = {"deep_supervision": False}
    batches = {}
    for name in ("nnUNetTrainer_UDA_SourceOnly", "nnUNetTrainer_UDA_GRL_MMD"):
        trainer = make_trainer(name, plans, **flags)
        loader, _ = trainer.get_dataloaders()
        batches[name] = [next(loader) for _ in range(3)]
    for alone, paired in zip(*batches.values(), strict=True):
        assert list(alone["keys"]) == list(paired["keys"])
        assert torch.equal(alone["data"], paired["data"][:, :1])
        assert torch.equal(alone["target"], paired["target"])
        assert paired["data_target"].shape == paired["data"].shape
        assert set(paired["keys_target"]) <= {f"Dataset102_B/B_{i:02d}" for i in range(4)}
        assert set(paired["data"][:, 1].unique().tolist()) <= {0.0, 1.0}
