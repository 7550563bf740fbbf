"""Alignment over several processes (DistributedDataParallel): every rank computes the alignment of the joint batch.

Without a process group, or in a group of one, every function returns what it was given.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from nnunet_da.errors import UserError
from nnunet_da.training.batch import DomainBatch


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def check_ranks(batch_size: int, batch_dice: bool, deep_supervision: bool, seg_layers: int) -> None:
    """Refuse what stock nnU-Net cannot train on several GPUs, before it hangs or fails in the second step.

    Args:
        batch_size: of the plans, shared out over the ranks.
        batch_dice: of the plans; its sums are gathered per sample, so every rank must hold as many.
        deep_supervision: whether all segmentation layers are trained.
        seg_layers: number of segmentation layers of the decoder; DDP waits for the gradient of each.

    Raises:
        UserError: the batch does not divide by the ranks under batch Dice.
        NotImplementedError: segmentation layers without a gradient.
    """
    ranks = world_size()
    if ranks > 1 and batch_dice and batch_size % ranks:
        raise UserError(
            f"with batch_dice the batch must divide by the number of GPUs, got a batch of {batch_size} on {ranks} GPUs:"
            " plan another --batch-size, or train with another -num_gpus"
        )
    if ranks > 1 and seg_layers > 1 and not deep_supervision:
        raise NotImplementedError(
            f"deep_supervision=false leaves {seg_layers - 1} of {seg_layers} segmentation layers without gradient,"
            " which several GPUs do not allow: train with deep supervision or with -num_gpus 1."
        )


def gather_features(local: Tensor) -> Tensor:
    """All ranks' samples in rank order, with gradient.

    Every rank computes the same loss L of the joint features (f_1, ..., f_W), and dL/dw = sum_r dL/df_r df_r/dw for a network weight w.
    DDP takes the mean over ranks of what they send back: rank r sends W dL/df_r, and no rank needs to hear of the others' gradients.

    Args:
        local: (n, ...) samples of this rank; n may differ between ranks and be 0, the other axes and the dtype may not.

    Returns:
        (N, ...), N the sum of all n; the same values on every rank.
    """
    return local if world_size() == 1 else _Gather.apply(local)


def gather_cases(local: list[str]) -> list[str]:
    """All ranks' case names in rank order, parallel to `gather_features`."""
    if world_size() == 1:
        return local
    gathered: list[Any] = [None] * world_size()
    dist.all_gather_object(gathered, local)
    return [case for cases in gathered for case in cases]


def joint_batch(local: DomainBatch) -> DomainBatch:
    """One domain's samples of all ranks. The maps travel too: at the bottleneck they are small, 55 kB for a 192^3 patch of TransUNet3D."""
    return DomainBatch(gather_features(local.features), gather_features(local.pooled), gather_cases(local.cases))


def broadcast_module(module: nn.Module) -> None:
    """Give every rank the weights and buffers of rank 0, in place."""
    if world_size() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


def average_gradients(module: nn.Module) -> None:
    """Replace every gradient by its mean over ranks, in place and in one message.

    For heads outside DDP. They see the joint batch, so that their gradients differ by rounding and by dropout masks at most; the mean is
    the same bits on every rank and keeps the heads equal. Call it after the backward pass and before a loss scaler looks for infinities:
    all ranks must skip the same steps.
    """
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    if world_size() > 1 and gradients:
        vector_to_parameters(mean_over_ranks(parameters_to_vector(gradients)), gradients)


def mean_over_ranks(values: Tensor) -> Tensor:
    """Mean of a tensor of equal shape on every rank, without gradient. NaN on one rank is NaN on all: they can stop together."""
    if world_size() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def joint_norms(gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Euclidean norm of each gradient with respect to the samples of all ranks, as one process with the joint batch would find it.

    Args:
        gradients: name -> gradient at this rank's samples, any shape; under DDP W times its share, as explained in `gather_features`.
    """
    names, ranks = list(gradients), world_size()
    squares = mean_over_ranks(torch.stack([gradient.square().sum() for gradient in gradients.values()]))
    return dict(zip(names, (squares / ranks).sqrt(), strict=True))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        counts = _counts(local)
        ctx.start, ctx.n = sum(counts[: dist.get_rank()]), len(local)
        padded = local.new_zeros(max(counts), *local.shape[1:])  # collectives want equal shapes
        padded[: len(local)] = local
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return world_size() * gradient[ctx.start : ctx.start + ctx.n]


def _counts(local: Tensor) -> list[int]:
    """Samples of every rank."""
    counts = [torch.zeros(1, dtype=torch.long, device=local.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.full_like(counts[0], len(local)))
    return torch.cat(counts).tolist()
