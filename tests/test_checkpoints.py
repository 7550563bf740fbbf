"""What a file must hold before any verb relies on it."""

import re

import pytest
import torch

from nnunet_da.checkpoints import read_checkpoint
from nnunet_da.errors import UserError


@pytest.fixture
def saved(tmp_path):
    """change -> a checkpoint file after `change` was done to sound content."""

    def save(change=lambda content: None):
        plans = {"dataset_name": "Dataset101_A", "configurations": {"3d_fullres": {}}}
        init_args = {"plans": plans, "configuration": "3d_fullres", "fold": 0, "dataset_json": {"labels": {"background": 0, "bone": 1}}}
        content = {"network_weights": {"layer.weight": torch.ones(2)}, "trainer_name": "nnUNetTrainer", "init_args": init_args}
        content |= {"current_epoch": 3, "nnunet_da": {"settings": {}}}
        change(content)
        torch.save(content, tmp_path / "checkpoint_final.pth")
        return tmp_path / "checkpoint_final.pth"

    return save


def test_sound_content_is_read(saved):
    assert read_checkpoint(saved())["network_weights"]["layer.weight"].tolist() == [1, 1]


def test_a_stock_checkpoint_has_nothing_of_ours(saved):
    assert "nnunet_da" not in read_checkpoint(saved(lambda content: content.pop("nnunet_da")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("trainer_name"), "'trainer_name' in its content is missing"),
        (lambda c: c.update(trainer_name=7), "'trainer_name' in its content is of type int"),
        (lambda c: c.update(network_weights=[torch.ones(2)]), "'network_weights' in its content is of type list"),
        (lambda c: c["network_weights"].update(bias=1.0), "'bias' in network_weights is of type float"),
        (lambda c: c.update(init_args=[]), "'init_args' in its content is of type list"),
        (lambda c: c["init_args"].pop("configuration"), "'configuration' in 'init_args' in its content is missing"),
        (lambda c: c["init_args"].update(configuration="2d"), "'2d' in plans.configurations is missing"),
        (lambda c: c["init_args"]["dataset_json"].clear(), "'labels' in 'dataset_json' in 'init_args' in its content is missing"),
        (lambda c: c.update(nnunet_da=None), "'nnunet_da' in its content is missing"),
        (lambda c: c["nnunet_da"].clear(), "'settings' in 'nnunet_da' in its content is missing"),
        (lambda c: c.update(current_epoch=None), "'current_epoch' in its content is missing"),
    ],
)
def test_other_content_is_refused_with_its_place(saved, change, words):
    with pytest.raises(UserError, match=re.escape(words)):
        read_checkpoint(saved(change))
