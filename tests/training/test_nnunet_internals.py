"""Every nnU-Net internal that we override, call or rely upon, pinned. Where nnU-Net moves, these tests fail first and say what moved.

No data set is needed: the stock trainer runs on random batches and a tiny network, so the file takes seconds.
"""

import ast
import inspect
import json
import os
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunet_da import paths

STEM = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
DATASETS = "nnunetv2.training.dataloading.nnunet_dataset"
HOSTS = ("nnunetv2", "batchgenerators", "batchgeneratorsv2")

# Parameters, in order, of every function and class that this package imports from nnU-Net or its libraries.
IMPORTED = {
    f"{STEM}.nnUNetTrainer": "plans, configuration, fold, dataset_json, device",
    f"{STEM.rpartition('.')[0]}.variants.data_augmentation.nnUNetTrainerDA5.nnUNetTrainerDA5": "plans, configuration, fold, dataset_json,"
    " device",
    "nnunetv2.training.dataloading.data_loader.nnUNetDataLoader": "data, batch_size, patch_size, final_patch_size, label_manager,"
    " oversample_foreground_percent, sampling_probabilities, pad_sides, probabilistic_oversampling, transforms",
    "nnunetv2.inference.export_prediction.convert_predicted_logits_to_segmentation_with_correct_shape": "predicted_logits, plans_manager,"
    " configuration_manager, label_manager, properties_dict, return_probabilities, num_threads_torch",
    "nnunetv2.inference.predict_from_raw_data.nnUNetPredictor": "tile_step_size, use_gaussian, use_mirroring, perform_everything_on_device,"
    " device, verbose, verbose_preprocessing, allow_tqdm",
    "nnunetv2.inference.sliding_window_prediction.compute_steps_for_sliding_window": "image_size, tile_size, tile_step_size",
    "batchgeneratorsv2.transforms.spatial.spatial.SpatialTransform": "patch_size, patch_center_dist_from_border, random_crop,"
    " p_elastic_deform, elastic_deform_scale, elastic_deform_magnitude, p_synchronize_def_scale_across_axes, p_rotation, rotation,"
    " p_rot_per_axis, p_scaling, scaling, p_synchronize_scaling_across_axes, bg_style_seg_sampling, mode_seg, border_mode_seg,"
    " center_deformation, mode_image, padding_mode_image, padding_value_seg, padding_value_image, align_corners, seg_tiebreak",
    "batchgeneratorsv2.transforms.utils.pseudo2d.Convert2DTo3DTransform": "",
    "nnunetv2.utilities.crossval_split.generate_crossval_split": "train_identifiers, seed, n_splits",
    "nnunetv2.preprocessing.resampling.default_resampling.compute_new_shape": "old_shape, old_spacing, new_spacing",
    "nnunetv2.preprocessing.resampling.default_resampling.resample_data_or_seg_to_shape": "data, new_shape, current_spacing,"
    " new_spacing, is_seg, order, order_z, force_separate_z, separate_z_anisotropy_threshold",
    "nnunetv2.utilities.default_n_proc_DA.get_allowed_n_proc_DA": "",
    "nnunetv2.utilities.plans_handling.plans_handler.PlansManager": "plans_file_or_dict",
    f"{DATASETS}.comp_blosc2_params": "image_size, patch_size, bytes_per_pixel, *",
    f"{DATASETS}.nnUNetDatasetBlosc2": "folder, identifiers, folder_with_segs_from_previous_stage",
    f"{DATASETS}.infer_dataset_class": "folder",
    "nnunetv2.experiment_planning.plan_and_preprocess_api.extract_fingerprint_dataset": "dataset_id, fingerprint_extractor_class,"
    " num_processes, check_dataset_integrity, clean, verbose, show_progress_bar",
    "nnunetv2.experiment_planning.plan_and_preprocess_api.preprocess_dataset": "dataset_id, plans_identifier, configurations,"
    " num_processes, *",
    "nnunetv2.utilities.find_class_by_name.recursive_find_python_class": "folder, class_name, current_module, base_folder, verbose,"
    " cleanup_imports_from_base_folder",
    "nnunetv2.utilities.find_class_by_name.temporarily_cleanup_imports_from_path": "path",
    "nnunetv2.utilities.find_class_by_name.temporarily_extend_syspath": "path",
    "nnunetv2.utilities.find_objects.recursive_find_trainer_class_by_name": "trainer_name",
    "nnunetv2.utilities.get_network_from_plans.get_network_from_plans": "arch_class_name, arch_kwargs, arch_kwargs_req_import,"
    " input_channels, output_channels, allow_init, deep_supervision",
    "nnunetv2.utilities.label_handling.label_handling.determine_num_input_channels": "plans_manager, configuration_or_config_manager,"
    " dataset_json",
    "nnunetv2.imageio.reader_writer_registry.determine_reader_writer_from_dataset_json": "dataset_json_content, example_file,"
    " allow_nonmatching_filename, verbose",
    "nnunetv2.imageio.reader_writer_registry.recursive_find_reader_writer_by_name": "rw_class_name",
    "nnunetv2.utilities.json_export.recursive_fix_for_json_export": "my_dict",
    "batchgenerators.dataloading.multi_threaded_augmenter.MultiThreadedAugmenter": "data_loader, transform, num_processes,"
    " num_cached_per_queue, seeds, pin_memory, timeout, wait_time",
    "batchgenerators.dataloading.nondet_multi_threaded_augmenter.NonDetMultiThreadedAugmenter": "data_loader, transform, num_processes,"
    " num_cached, seeds, pin_memory, wait_time",
    "batchgenerators.dataloading.single_threaded_augmenter.SingleThreadedAugmenter": "data_loader, transform",
    "batchgeneratorsv2.transforms.base.basic_transform.BasicTransform": "",
    "batchgeneratorsv2.transforms.utils.compose.ComposeTransforms": "transforms",
    "batchgeneratorsv2.transforms.utils.remove_label.RemoveLabelTansform": "label_value, set_to, segmentation_channels",
}

# Parameters of the trainer's methods that we override or call; ours must keep them.
METHODS = {
    "__init__": "self, plans, configuration, fold, dataset_json, device",
    "initialize": "self",
    "build_network_architecture": "plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision",
    "_build_loss": "self",
    "_do_i_compile": "self",
    "_get_deep_supervision_scales": "self",
    "_set_batch_size_and_oversample": "self",
    "configure_optimizers": "self",
    "configure_rotation_dummyDA_mirroring_and_inital_patch_size": "self",
    "get_dataloaders": "self",
    "get_tr_and_val_datasets": "self",
    "do_split": "self",
    "get_training_transforms": "patch_size, rotation_for_DA, deep_supervision_scales, mirror_axes, do_dummy_2d_data_aug,"
    " use_mask_for_norm, is_cascaded, foreground_labels, regions, ignore_label",
    "get_validation_transforms": "deep_supervision_scales, is_cascaded, foreground_labels, regions, ignore_label",
    "set_deep_supervision_enabled": "self, enabled",
    "run_training": "self",
    "on_train_start": "self",
    "on_train_end": "self",
    "on_epoch_start": "self",
    "on_epoch_end": "self",
    "on_train_epoch_start": "self",
    "on_train_epoch_end": "self, train_outputs",
    "train_step": "self, batch",
    "on_validation_epoch_start": "self",
    "on_validation_epoch_end": "self, val_outputs",
    "validation_step": "self, batch",
    "perform_actual_validation": "self, save_probabilities",
    "save_checkpoint": "self, filename",
    "load_checkpoint": "self, filename_or_checkpoint",
    "print_to_log_file": "self, args, also_print_to_console, add_timestamp",
    "print_plans": "self",
    "plot_network_architecture": "self",
    "_save_debug_information": "self",
}

# Numbers that we set and stock code reads: an attribute of another name would be ignored without a word.
WE_SET = {
    "initial_lr",
    "weight_decay",
    "num_epochs",
    "num_iterations_per_epoch",
    "num_val_iterations_per_epoch",
    "save_every",
    "enable_deep_supervision",
    "oversample_foreground_percent",
    "inference_allowed_mirroring_axes",
    "dataloader_train",
    "dataloader_val",
    "current_epoch",
    "disable_checkpointing",
}

CHECKPOINT_KEYS = {
    "network_weights",
    "optimizer_state",
    "grad_scaler_state",
    "logging",
    "_best_ema",
    "current_epoch",
    "init_args",
    "trainer_name",
    "inference_allowed_mirroring_axes",
}


def find(dotted):
    module, name = dotted.rsplit(".", 1)
    return getattr(import_module(module), name)


def parameters(function):
    return ", ".join(inspect.signature(function).parameters)


def source_files(folder="."):
    return sorted((paths.PACKAGE_DIR / folder).rglob("*.py"))


# --- what we import, override and read


def imported_names():
    for file in source_files():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in HOSTS:
                yield from ((f"{node.module}.{alias.name}", file.relative_to(paths.PACKAGE_DIR)) for alias in node.names)


def test_every_import_is_there_and_pinned():
    for name, file in imported_names():
        assert hasattr(import_module(name.rsplit(".", 1)[0]), name.rsplit(".", 1)[1]), f"{name} is gone, nnunet_da/{file} imports it"
        assert name in IMPORTED, f"nnunet_da/{file} imports {name}: pin its parameters in IMPORTED"


@pytest.mark.parametrize("name", IMPORTED)
def test_parameters_of_what_we_import(name):
    found, expected = parameters(find(name)), IMPORTED[name]
    matches = found.startswith(expected[:-3]) if expected.endswith("*") else found == expected
    assert matches, f"{name} takes ({found}) now, we call it as ({expected})"


@pytest.mark.parametrize("name", METHODS)
def test_parameters_of_the_trainers_methods(name):
    stock = find(f"{STEM}.nnUNetTrainer")
    assert hasattr(stock, name), f"nnUNetTrainer.{name} is gone, nnunet_da/training overrides or calls it"
    found = parameters(getattr(stock, name))
    assert found == METHODS[name], f"nnUNetTrainer.{name} takes ({found}) now, our override takes ({METHODS[name]})"


def our_classes():
    """Every class of nnunet_da/training between nnU-Net's trainer and ours."""
    import nnunet_da.training as training

    stock = find(f"{STEM}.nnUNetTrainer")
    trainers = [kind for kind in vars(training).values() if inspect.isclass(kind) and issubclass(kind, stock)]
    return {base for kind in trainers for base in kind.__mro__ if base.__module__.startswith("nnunet_da.training")}


def test_every_override_is_pinned_and_takes_what_stock_hands_over():
    stock = find(f"{STEM}.nnUNetTrainer")
    for kind in our_classes():
        for name in set(vars(kind)) & {name for name, value in vars(stock).items() if callable(value) or isinstance(value, staticmethod)}:
            if name in ("__doc__", "__module__"):
                continue
            assert name in METHODS, f"{kind.__name__} overrides nnUNetTrainer.{name}: pin its parameters in METHODS"
            ours = parameters(getattr(kind, name))
            assert ours == METHODS[name], f"{kind.__name__}.{name} takes ({ours}), stock calls it as ({METHODS[name]})"


def test_build_network_architecture_is_static():
    """Prediction calls it on the class, with no trainer at all."""
    for kind in (find(f"{STEM}.nnUNetTrainer"), *our_classes()):
        assert isinstance(inspect.getattr_static(kind, "build_network_architecture"), staticmethod), f"{kind.__name__}: not static any more"


def attributes(tree, owner, context):
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, context)
            and isinstance(node.value, ast.Name)
            and node.value.id == owner
        ):
            yield node.attr


def class_trees():
    for kind in our_classes():
        yield f"{Path(inspect.getfile(kind)).name}: {kind.__name__}", ast.parse(inspect.getsource(kind))


def test_attributes_we_read_exist(stock):
    """`self.x` in our trainers, `trainer.x` in the modules beside them."""
    trainer, _ = stock
    trainer.initialize()
    read = [(name, where) for where, tree in class_trees() for name in attributes(tree, "self", ast.Load)]
    for file in source_files("training"):
        read += [(name, file.name) for name in attributes(ast.parse(file.read_text()), "trainer", ast.Load)]
    ours = {name for kind in our_classes() for name in vars(kind)}
    ours |= {name for _, tree in class_trees() for name in attributes(tree, "self", ast.Store)} - WE_SET
    assert read
    for name, where in read:
        known = name in ours or hasattr(trainer, name)
        assert known, f"a stock trainer has no attribute {name} any more, nnunet_da/training/{where} reads it"
    for name in WE_SET:
        assert hasattr(trainer, name), f"a stock trainer has no attribute {name} any more: what we set there has no effect"


# --- a stock trainer on random batches

ARCHITECTURE = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 3,
        "features_per_stage": [2, 4, 4],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 3,
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}
FULLRES = {
    "data_identifier": "Pins_3d_fullres",
    "batch_size": 3,
    "patch_size": [8, 8, 8],
    "use_mask_for_norm": [False],
    "normalization_schemes": ["CTNormalization"],
    "batch_dice": False,
    "architecture": ARCHITECTURE,
    "nnunet_da": {"w_mmd": 0.1},
}


def tiny_plans():
    return {
        "dataset_name": "Dataset101_A",
        "plans_name": "Pins",
        "label_manager": "LabelManager",
        "image_reader_writer": "SimpleITKIO",
        "configurations": {
            "3d_fullres": json.loads(json.dumps(FULLRES)),
            "variant": {"inherits_from": "3d_fullres", "nnunet_da": {"w_mmd": 0.2}},
            "3d_lowres": json.loads(json.dumps(FULLRES)),
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        },
    }


DATASET_JSON = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "bone": 1}, "numTraining": 1, "file_ending": ".nii.gz"}


@pytest.fixture
def stock(nnunet_folders, monkeypatch):
    """A tiny stock trainer on random batches, and the list of the calls it makes; two epochs of two steps."""
    folder = nnunet_folders / "nnUNet_preprocessed" / "Dataset101_A"
    (folder / "Pins_3d_fullres").mkdir(parents=True)
    (folder / "Pins_3d_fullres" / "case.b2nd").touch()
    (folder / "dataset_fingerprint.json").write_text("{}")
    monkeypatch.setattr(find("nnunetv2.training.logging.nnunet_logger.LocalLogger"), "plot_progress_png", lambda *arguments: None)  # slow
    calls = []

    class Recorded(find(f"{STEM}.nnUNetTrainer")):
        def get_dataloaders(self):
            def batches():
                while True:
                    labels = torch.randint(0, 2, (3, 1, 8, 8, 8), dtype=torch.int16)
                    yield {"data": torch.randn(3, 1, 8, 8, 8), "target": [labels, labels[..., ::2, ::2, ::2]], "keys": ["case"] * 3}

            return batches(), batches()

    def recorder(name, method):
        def call(self, *arguments, **options):
            calls.append(name)
            return method(self, *arguments, **options)

        return call

    for name in METHODS:
        if name not in ("__init__", "build_network_architecture", "get_training_transforms", "get_validation_transforms"):
            setattr(Recorded, name, recorder(name, getattr(Recorded, name)))
    trainer = Recorded({**tiny_plans(), "continue_training": False}, "3d_fullres", 0, DATASET_JSON, torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 2, 2, 1
    return trainer, calls


def test_order_of_calls_in_training(stock):
    trainer, calls = stock
    trainer.run_training()
    hooks = [name for name in calls if name.startswith(("on_", "train_step", "validation_step", "save_", "initialize", "get_data"))]
    epoch = ["on_epoch_start", "on_train_epoch_start", "train_step", "train_step", "on_train_epoch_end"]
    epoch += ["on_validation_epoch_start", "validation_step", "on_validation_epoch_end", "on_epoch_end"]
    without_saving = [name for name in hooks if name != "save_checkpoint"]
    assert without_saving == ["on_train_start", "initialize", "get_dataloaders", *epoch, *epoch, "on_train_end"], (
        f"nnUNetTrainer.run_training calls its hooks in another order now, our trainer relies on the old one: {without_saving}"
    )
    assert hooks[hooks.index("on_train_end") + 1] == "save_checkpoint", "on_train_end no longer saves checkpoint_final.pth first"


def test_a_network_given_before_training_is_kept(stock):
    """-pretrained_weights and --c initialise first; on_train_start must not do it again."""
    trainer, calls = stock
    trainer.initialize()
    network = trainer.network
    trainer.on_train_start()
    assert trainer.network is network, "on_train_start builds the network again: loaded weights are lost"
    assert calls.count("initialize") == 1


def test_initialize_sets_what_our_own_needs(stock):
    trainer, calls = stock
    trainer.initialize()
    assert trainer.was_initialized, "initialize no longer notes that it ran"
    assert trainer.batch_size == 3, "the trainer's batch_size is not the plans' any more (training/trainer.py reads it)"
    assert trainer.num_input_channels == 1
    assert calls.index("_set_batch_size_and_oversample") < calls.index("configure_optimizers") < calls.index("_build_loss")
    assert trainer.network.decoder.deep_supervision is True, "the stock network's switch for deep supervision moved"


def test_files_of_a_finished_run(stock):
    trainer, _ = stock
    trainer.save_every = 1
    trainer.run_training()
    fold = Path(trainer.output_folder)
    assert fold.parts[-2:] == ("Recorded__Pins__3d_fullres", "fold_0"), (
        "results folders are named otherwise: export and report look for them"
    )
    found = {file.name for file in fold.iterdir()}
    assert {"checkpoint_final.pth", "checkpoint_best.pth"} <= found, f"a finished run holds {sorted(found)}"
    assert "checkpoint_latest.pth" not in found, "on_train_end keeps checkpoint_latest.pth now: --c would still prefer the final one"
    assert {"plans.json", "dataset.json"} <= {file.name for file in fold.parent.iterdir()}, (
        "prediction needs plans and dataset beside the folds"
    )


def test_latest_checkpoint_every_few_epochs(stock):
    trainer, _ = stock
    trainer.num_epochs, trainer.save_every = 3, 2
    trainer.on_train_end = lambda: None
    trainer.run_training()
    file = Path(trainer.output_folder) / "checkpoint_latest.pth"
    assert file.is_file(), "on_epoch_end no longer writes checkpoint_latest.pth every `save_every` epochs"
    assert torch.load(file, weights_only=False)["current_epoch"] == 2, "a checkpoint's current_epoch is no longer the next epoch to train"


def test_keys_of_a_stock_checkpoint(stock, tmp_path):
    trainer, _ = stock
    trainer.run_training()
    checkpoint = torch.load(Path(trainer.output_folder) / "checkpoint_final.pth", weights_only=False)
    assert set(checkpoint) == CHECKPOINT_KEYS, f"stock checkpoints hold other keys, training/checkpoint.py writes {sorted(CHECKPOINT_KEYS)}"
    assert set(checkpoint["init_args"]) == {"plans", "configuration", "fold", "dataset_json", "device"}
    assert not any(key.startswith(("module.", "_orig_mod.")) for key in checkpoint["network_weights"])
    assert checkpoint["current_epoch"] == 2
    from nnunet_da.checkpoints import read_checkpoint

    assert (
        set(read_checkpoint(Path(trainer.output_folder) / "checkpoint_final.pth")) == CHECKPOINT_KEYS
    )  # nothing in it needs unsafe loading


def test_keys_that_stock_loading_reads(stock, monkeypatch):
    trainer, _ = stock
    trainer.run_training()

    read = set()

    class Read(dict):
        def __getitem__(self, name):
            read.add(name)
            return super().__getitem__(name)

    file = Path(trainer.output_folder) / "checkpoint_final.pth"
    checkpoint = Read(torch.load(file, weights_only=False))
    monkeypatch.setattr(torch, "load", lambda *arguments, **options: checkpoint)
    trainer.load_checkpoint(str(file))
    assert read <= CHECKPOINT_KEYS, f"load_checkpoint reads {read - CHECKPOINT_KEYS}, training/checkpoint.py does not write it"
    assert trainer.logger.local_logger.my_fantastic_logging is checkpoint["logging"], "curves are no longer replaced by the checkpoint's"


@pytest.mark.parametrize(
    ("present", "continued"),
    [(("final", "latest", "best"), "final"), (("latest", "best"), "latest"), (("best",), "best"), ((), None)],
)
def test_checkpoint_that_continuing_takes(tmp_path, present, continued):
    from nnunetv2.run.run_training import maybe_load_checkpoint

    class Trainer:
        output_folder, loaded = str(tmp_path), None

        def load_checkpoint(self, file):
            assert isinstance(file, str), "load_checkpoint is given no str any more, ours makes a Path of it"
            self.loaded = Path(file).name

    for name in present:
        (tmp_path / f"checkpoint_{name}.pth").touch()
    trainer = Trainer()
    maybe_load_checkpoint(trainer, True, False)
    expected = f"checkpoint_{continued}.pth" if continued else None
    assert trainer.loaded == expected, f"--c with {present} loads {trainer.loaded} now, resuming counts on {expected}"


def test_arguments_of_the_training_commands():
    from nnunetv2.run import run_training

    ddp = "rank, dataset_name_or_id, configuration, fold, tr, p, disable_checkpointing, c, val, pretrained_weights, npz"
    ddp += ", val_with_best, world_size"
    assert parameters(run_training.run_ddp) == ddp, "run_ddp, which -num_gpus starts, takes other arguments"
    load = "nnunet_trainer, continue_training, validation_only, pretrained_weights_file"
    assert parameters(run_training.maybe_load_checkpoint) == load
    assert parameters(run_training.get_trainer_from_args) == (
        "dataset_name_or_id, configuration, fold, trainer_name, plans_identifier, continue_training, device"
    )


def test_validation_switches_deep_supervision_off_and_on(stock, monkeypatch):
    """Ours keeps it off where the run has none; a fixed stock would make that override needless, another order would break it."""
    trainer, _ = stock
    trainer.initialize()
    switched = []
    monkeypatch.setattr(trainer, "set_deep_supervision_enabled", switched.append)
    monkeypatch.setattr(trainer, "do_split", lambda: ([], []))
    module = sys.modules[STEM]
    monkeypatch.setattr(module, "compute_metrics_on_folder", lambda *a, **k: {"mean": {}, "foreground_mean": {"Dice": 0}})
    monkeypatch.setattr(module, "default_num_processes", 1)
    trainer.perform_actual_validation()
    assert switched == [False, True], f"perform_actual_validation switches deep supervision {switched}, ours expects off and on"


def test_every_parameter_group_follows_the_schedule():
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [weights[0]], "lr": 1.0}, {"params": [weights[1]], "lr": 5.0}])
    PolyLRScheduler(optimizer, 1.0, 10).step(5)
    assert {round(group["lr"], 9) for group in optimizer.param_groups} == {round(0.5**0.9, 9)}, (
        "PolyLRScheduler moved: our heads have an optimiser of their own because it sets one rate for all groups"
    )


# --- curves


def test_curves_are_lists_in_the_local_logger(tmp_path):
    from nnunetv2.training.logging.nnunet_logger import MetaLogger

    from nnunet_da.training.logging import STOCK_CURVES

    logger = MetaLogger(str(tmp_path), False)
    curves = logger.local_logger.my_fantastic_logging
    assert set(STOCK_CURVES) <= set(curves), "training/logging.py writes curves that nnU-Net no longer keeps"
    with pytest.raises(AssertionError):
        logger.log("loss_mmd", 1.0, 0)  # else training/logging.py need not register its names
    curves["loss_mmd"] = []
    for key in ("loss_mmd", *STOCK_CURVES):
        if key != "ema_fg_dice":  # nnU-Net derives it
            logger.log(key, 1.0, 0)
    logger.log("epoch_start_timestamps", 0.0, 0)
    logger.log("epoch_end_timestamps", 1.0, 0)
    assert curves["loss_mmd"] == [1.0]
    assert logger.get_value("ema_fg_dice", 0) == 1.0, "mean_fg_dice no longer gives ema_fg_dice, which picks checkpoint_best.pth"
    assert logger.get_checkpoint() is curves, "checkpoints no longer hold the local logger's curves"
    curves["dice_per_class_or_region"].append([1.0])
    logger.plot_progress_png(str(tmp_path))
    assert (tmp_path / "progress.png").is_file()


# --- batches


@pytest.mark.parametrize("cascaded", [False, True])
@pytest.mark.parametrize("regions", [None, [(1, 2), 2]])
@pytest.mark.parametrize("patch_size", [(8, 8, 8), (8, 8)])
def test_padding_is_unmarked_once_after_all_augmentation(patch_size, regions, cascaded):
    """`mark_padding` inserts its channel before the first RemoveLabelTansform: no augmentation of the image may come behind it."""
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform

    remove_label = find("batchgeneratorsv2.transforms.utils.remove_label.RemoveLabelTansform")
    axes = tuple(range(len(patch_size)))
    stock = find(f"{STEM}.nnUNetTrainer")
    transforms = stock.get_training_transforms(
        patch_size, (-0.1, 0.1), None, axes, False, [False], is_cascaded=cascaded, foreground_labels=[1, 2], regions=regions
    )
    names = [type(transform).__name__ for transform in transforms.transforms]
    found = [i for i, transform in enumerate(transforms.transforms) if isinstance(transform, remove_label)]
    assert len(found) == 1, f"the training transforms remove the padding's label {len(found)} times, once is expected: {names}"
    position = found[0]
    assert position > max(i for i, transform in enumerate(transforms.transforms) if isinstance(transform, MirrorTransform))
    allowed = {"ConvertSegmentationToRegionsTransform"} | ({"MoveSegAsOneHotToDataTransform", "RandomTransform"} if cascaded else set())
    assert set(names[position + 1 :]) <= allowed, f"augmentation after the padding's label is gone: {names[position + 1 :]}"
    remove = transforms.transforms[position]
    assert (remove.label_value, remove.set_to) == (-1, 0), "padding is no longer label -1 (training/loaders.py: PADDING_LABEL)"
    spatial = next(transform for transform in transforms.transforms if type(transform).__name__ == "SpatialTransform")
    assert spatial.padding_value_seg == -1, "rotation pads labels with another value than -1"


class Cases:
    """Two cases in memory; foreground in one corner alone."""

    identifiers = ("a", "b")

    def load_case(self, case):
        labels = np.zeros((1, 12, 12, 12), np.int16)
        labels[:, 10:, 10:, 10:] = 1
        where = np.argwhere(labels == 1)
        return np.random.default_rng(0).normal(size=(1, 12, 12, 12)), labels, None, {"class_locations": {1: where}}


def loader_of(labels, patch_size=(4, 4, 4), **options):
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    return find("nnunetv2.training.dataloading.data_loader.nnUNetDataLoader")(
        Cases(), 3, patch_size, patch_size, LabelManager(labels, None), **options
    )


def test_foreground_is_forced_into_the_last_third():
    np.random.seed(0)
    loader = loader_of({"background": 0, "bone": 1}, oversample_foreground_percent=0.33)
    batches = [next(loader)["target"] for _ in range(30)]
    shares = np.mean([[(labels[i] == 1).any().item() for i in range(3)] for labels in batches], axis=0)
    assert shares[2] == 1, "foreground is no longer forced into the end of a batch: domain_batches aligns the samples before it"
    assert max(shares[:2]) < 0.5, "the first two thirds are no longer drawn at random"


def test_batches_follow_numpys_random_state_alone():
    loader = loader_of({"background": 0, "bone": 1})
    draws = []
    for _ in range(2):
        np.random.seed(5)
        draws.append(next(loader)["data"])
    assert torch.equal(*draws), "a batch depends on more than NumPy's random state: seeded runs would not resume exactly"


def test_a_batch_has_data_target_and_keys():
    batch = next(loader_of({"background": 0, "bone": 1}))
    assert set(batch) == {"data", "target", "keys"}, "batches hold other keys; PairedLoader and train_step read these"
    assert batch["data"].shape == (3, 1, 4, 4, 4)
    assert isinstance(batch["data"], torch.Tensor)
    flat = next(loader_of({"background": 0, "bone": 1}, patch_size=(4, 4)))
    assert flat["data"].shape == (3, 1, 4, 4), "2d patches have another shape"


def test_patches_outside_the_image_are_labelled_as_padding():
    from nnunet_da.training.loaders import PADDING_LABEL

    labels = next(loader_of({"background": 0, "bone": 1}, patch_size=(16, 16, 16)))["target"]
    assert (labels == PADDING_LABEL).any(), "padding is no longer marked -1 in the labels: MarkPadding could not see it"


def test_an_ignore_label_changes_the_sampling_through_one_attribute():
    loader = loader_of({"background": 0, "bone": 1, "ignore": 2})
    assert loader.has_ignore is True, "nnUNetDataLoader.has_ignore moved: with it random samples centre on annotated voxels"
    with pytest.raises(KeyError):
        next(loader)  # the cases know no annotated voxels, as those of a target
    loader.has_ignore = False
    next(loader)


class Counting:
    """Batches that name their worker and number."""

    def __init__(self):
        self.worker, self.count = 0, 0

    def set_thread_id(self, worker):
        self.worker = worker

    def __iter__(self):
        return self

    def __next__(self):
        self.count += 1
        return {"data": np.array([self.worker, self.count])}


def test_workers_are_asked_in_turn_and_can_be_finished():
    loader = find("batchgenerators.dataloading.multi_threaded_augmenter.MultiThreadedAugmenter")(Counting(), None, 2, 1, None, False)
    got = [tuple(next(loader)["data"]) for _ in range(6)]
    assert got == [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3)], f"MultiThreadedAugmenter's order is {got}: seeded batches mix up"
    loader._finish()
    assert not any(process.is_alive() for process in loader._processes), "MultiThreadedAugmenter._finish leaves workers behind"


def test_unordered_workers_can_be_finished():
    name = "batchgenerators.dataloading.nondet_multi_threaded_augmenter.NonDetMultiThreadedAugmenter"
    loader = find(name)(Counting(), None, 1, num_cached=1, pin_memory=False, wait_time=0.002)
    next(loader)
    loader._finish()
    assert not any(process.is_alive() for process in loader._processes), "NonDetMultiThreadedAugmenter._finish leaves workers behind"


def test_number_of_workers_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    assert find("nnunetv2.utilities.default_n_proc_DA.get_allowed_n_proc_DA")() == 0


# --- plans, preprocessing, prediction


def test_plans_keep_foreign_keys_and_inherit():
    plans = find("nnunetv2.utilities.plans_handling.plans_handler.PlansManager")(tiny_plans())
    parent, variant = (plans.get_configuration(name).configuration for name in ("3d_fullres", "variant"))
    assert parent["nnunet_da"] == {"w_mmd": 0.1}, "plans lose keys that nnU-Net does not know: our settings travel in one"
    assert variant["nnunet_da"] == {"w_mmd": 0.2}, "a variant no longer overrides its parent"
    assert all(variant[key] == value for key, value in parent.items() if key != "nnunet_da"), "inherits_from no longer copies the parent"
    assert plans.get_configuration("3d_cascade_fullres").previous_stage_name == "3d_lowres", "cascades are marked otherwise"
    for name in ("network_arch_class_name", "patch_size", "batch_size", "use_mask_for_norm", "data_identifier", "batch_dice"):
        assert hasattr(plans.get_configuration("3d_fullres"), name), f"ConfigurationManager.{name} is gone"
    assert (plans.dataset_name, plans.plans_name) == ("Dataset101_A", "Pins")


def test_network_that_cannot_be_imported_is_replaced_silently():
    """Why build_network_architecture compares the plans' network with the built one."""
    arguments = {**ARCHITECTURE["arch_kwargs"]}
    with pytest.warns(UserWarning, match="not found"):
        network = find("nnunetv2.utilities.get_network_from_plans.get_network_from_plans")(
            "elsewhere.PlainConvUNet", arguments, ARCHITECTURE["_kw_requires_import"], 1, 2, deep_supervision=False
        )
    assert type(network).__module__.startswith("dynamic_network_architectures")
    assert isinstance(network.encoder(torch.zeros(1, 1, 8, 8, 8)), list), "the encoder no longer returns its skips (training/features.py)"


def test_preprocessor_takes_a_scan_without_labels():
    run_case = find("nnunetv2.preprocessing.preprocessors.default_preprocessor.DefaultPreprocessor").run_case
    expected = "self, image_files, seg_file, plans_manager, configuration_manager, dataset_json"
    assert parameters(run_case) == expected, "DefaultPreprocessor.run_case takes other arguments (preprocessing.py)"


def test_a_saved_case_comes_back(tmp_path):
    """The files of the target cache, as preprocessing.py writes and loaders.py watches them."""
    dataset_class = find(f"{DATASETS}.nnUNetDatasetBlosc2")
    data, labels = np.random.rand(1, 4, 5, 6).astype(np.float32), np.ones((1, 4, 5, 6), np.int16)
    blocks, chunks = find(f"{DATASETS}.comp_blosc2_params")(data.shape, (4, 4, 4), 4)
    dataset_class.save_case(
        data, labels, {"class_locations": {}}, str(tmp_path / "x"), chunks=chunks, blocks=blocks, chunks_seg=chunks, blocks_seg=blocks
    )
    found = {file.name for file in tmp_path.iterdir()}
    assert found == {"x.b2nd", "x_seg.b2nd", "x.pkl"}, f"a preprocessed case is stored in {sorted(found)}"
    dataset = dataset_class(str(tmp_path), ["x"])
    assert (list(dataset.identifiers), dataset.source_folder) == (["x"], str(tmp_path))
    loaded, _, previous, properties = dataset.load_case("x")
    np.testing.assert_array_equal(loaded[:], data)
    assert previous is None
    assert properties == {"class_locations": {}}
    assert find(f"{DATASETS}.infer_dataset_class")(str(tmp_path)) is dataset_class


def test_a_planner_class_can_be_derived_and_kept_from_writing():
    planner = find("nnunetv2.experiment_planning.experiment_planners.default_experiment_planner.ExperimentPlanner")
    assert {"plans_name", "overwrite_target_spacing"} <= set(inspect.signature(planner).parameters), "ExperimentPlanner's options moved"
    assert parameters(planner.save_plans) == "self, plans", "planning.py stops save_plans, which moved"
    assert parameters(planner.plan_experiment) == "self"


def test_prediction_asks_the_trainers_class_for_the_network(stock, monkeypatch):
    from nnunetv2.inference import predict_from_raw_data as prediction

    trainer, _ = stock
    trainer.run_training()
    asked = {}

    class Asked(type(trainer)):
        @staticmethod
        def build_network_architecture(plans_manager, configuration_manager, num_input_channels, num_output_channels, **options):
            asked.update(options, plans=plans_manager.plans_name, channels=(num_input_channels, num_output_channels))
            return find(f"{STEM}.nnUNetTrainer").build_network_architecture(
                plans_manager, configuration_manager, num_input_channels, num_output_channels, **options
            )

    monkeypatch.setattr(prediction, "recursive_find_trainer_class_by_name", lambda name: Asked)
    predictor = prediction.nnUNetPredictor(device=torch.device("cpu"))
    predictor.initialize_from_trained_model_folder(trainer.output_folder_base, (0,), "checkpoint_final.pth")
    assert asked == {"plans": "Pins", "channels": (1, 2), "enable_deep_supervision": False}, (
        f"prediction builds the network otherwise, with {asked}: nnunet_da/training/trainer.py must follow"
    )


# --- look-up


def test_trainers_are_found_through_the_variable_and_leave_no_module(tmp_path, monkeypatch):
    body = f"from {STEM} import nnUNetTrainer\n\n\nclass nnUNetTrainer_Pin(nnUNetTrainer):\n    pass\n"
    (tmp_path / "a_first.py").write_text("import os\nos.environ['PIN_ORDER'] = 'a'\n")
    (tmp_path / "nnUNetTrainer_Pin.py").write_text("import os\nassert os.environ.pop('PIN_ORDER') == 'a'\n" + body)
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join(["/no/such/folder", str(tmp_path)]))
    found = find("nnunetv2.utilities.find_objects.recursive_find_trainer_class_by_name")("nnUNetTrainer_Pin")
    assert found.__module__ == "nnUNetTrainer_Pin", "look-up names modules otherwise (doctor/trainers.py compares them)"
    assert "nnUNetTrainer_Pin" not in sys.modules, "look-up keeps trainer modules loaded now: thin trainer files are no longer needed"
    assert str(tmp_path) not in sys.path
