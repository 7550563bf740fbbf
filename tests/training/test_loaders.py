from pathlib import Path

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform

from nnunet_da.errors import UserError
from nnunet_da.training.loaders import GuardedLoader, PairedLoader, PooledDataset, SeededBatches, augmenter, finish, mark_padding
from nnunet_da.training.randomness import Stream, seed_everything, seed_for


def test_padding_is_marked_before_its_label_is_removed():
    transforms = mark_padding(ComposeTransforms([RemoveLabelTansform(-1, 0)]))
    segmentation = torch.tensor([[[-1, 0], [1, -1]]], dtype=torch.int16)
    out = transforms(image=torch.full((1, 2, 2), 5.0), segmentation=segmentation)
    assert out["image"].tolist() == [[[5, 5], [5, 5]], [[0, 1], [1, 0]]]
    assert out["segmentation"].tolist() == [[[0, 0], [1, 0]]]


def draws():
    while True:
        yield {"numpy": np.random.rand(), "torch": torch.rand(1).item()}


def taken(loader, number):
    return [next(loader) for _ in range(number)]


def test_batches_are_the_same_whoever_else_draws():
    alone = taken(SeededBatches(draws(), (3, 0), 0, 0), 3)
    together, disturbed = [], SeededBatches(draws(), (3, 0), 0, 0)
    for _ in range(3):
        np.random.rand(5), torch.rand(5)
        together.append(next(disturbed))
    assert alone == together
    assert len({draw["torch"] for draw in alone}) == 3
    assert taken(SeededBatches(draws(), (3, 1), 0, 0), 3) != alone


def test_batches_leave_the_global_state_alone():
    seed_everything(0)
    expected = torch.rand(1), np.random.rand()
    seed_everything(0)
    taken(SeededBatches(draws(), (1,), 0, 0), 2)
    assert (torch.rand(1), np.random.rand()) == expected


class Draws:
    """A loader that workers can copy."""

    def __next__(self):
        return {"numpy": np.random.rand(), "torch": torch.rand(1).item()}


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_do_not_depend_on_the_number_of_workers(workers):
    loader = augmenter(Draws(), workers, 6, False, (5, 2), 0)
    try:
        assert taken(loader, 7) == taken(augmenter(Draws(), 0, 6, False, (5, 2), 0), 7)
    finally:
        finish(loader)


class ThreadCount:
    def __next__(self):
        return {"threads": torch.get_num_threads()}


def test_workers_use_one_thread():
    """A forked worker has none of the parent's threads and would wait for them without end."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    loader = augmenter(ThreadCount(), 1, 6, False, (5, 2), 0)
    try:
        assert next(loader) == {"threads": 1}
    finally:
        finish(loader)
        torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_continues_at_the_batch_it_is_told(workers):
    whole = taken(augmenter(Draws(), 0, 6, False, (5, 2), 0), 7)
    loader = augmenter(Draws(), workers, 6, False, (5, 2), 4)
    try:
        assert taken(loader, 3) == whole[4:]
    finally:
        finish(loader)


def test_every_stream_rank_and_batch_has_a_seed_of_its_own():
    seeds = {seed_for(7, 0, rank, stream, index) for rank in (0, 1) for stream in Stream for index in range(50)}
    assert len(seeds) == 2 * len(Stream) * 50


class Folder:
    """A preprocessed dataset of nnU-Net, as far as the pool looks at it."""

    def __init__(self, folder, cases):
        self.source_folder, self.identifiers = str(folder), cases
        for case in cases:
            for kind in (".b2nd", "_seg.b2nd", ".pkl"):
                (folder / f"{case}{kind}").write_bytes(b"voxels")

    def load_case(self, case):
        return f"loaded {case}"


def test_pooled_dataset_names_cases_by_their_dataset(tmp_path):
    pooled = PooledDataset({"B": Folder(tmp_path, ["x", "y"]), "C": Folder(tmp_path, ["x"])})
    assert pooled.identifiers == ["B/x", "B/y", "C/x"]
    assert pooled.load_case("C/x") == "loaded x"


@pytest.mark.parametrize("harm", [Path.unlink, lambda file: file.write_bytes(b"other voxels")], ids=["deleted", "changed"])
def test_a_target_scan_that_is_deleted_or_changed_is_named(tmp_path, harm):
    pooled = PooledDataset({"B": Folder(tmp_path, ["x", "y"])})
    harm(tmp_path / "y.b2nd")
    assert pooled.load_case("B/x") == "loaded x"
    for access in (lambda: pooled.load_case("B/y"), pooled.check):
        with pytest.raises(UserError, match=r"B/y.*changed or deleted.*preprocess"):
            access()


def test_an_unreadable_target_scan_is_named(tmp_path):
    dataset = Folder(tmp_path, ["x"])
    dataset.load_case = lambda case: np.frombuffer(b"", dtype=int)[0]
    with pytest.raises(UserError, match="B/x must be readable"):
        PooledDataset({"B": dataset}).load_case("B/x")


def test_dead_workers_are_explained_where_we_can():
    def dead():
        yield 1
        raise RuntimeError("One or more background workers are no longer alive.")

    def explain():
        raise UserError("the target cache was deleted")

    loader = GuardedLoader(dead(), explain)
    assert next(loader) == 1
    with pytest.raises(UserError, match="cache was deleted"):
        next(loader)
    silent = GuardedLoader(dead(), lambda: None)
    next(silent)
    with pytest.raises(RuntimeError, match="no longer alive"):
        next(silent)


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
