"""`nnunet-da trainer-path`: print the folder for nnUNet_extTrainer."""

import argparse

from nnunet_da import paths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(options: argparse.Namespace) -> None:
    print(paths.trainers_dir())
