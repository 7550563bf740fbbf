"""Mixed precision and GPUs: alignment stays in float32, the step is the CPU's, and compiled networks give the plain result."""

import copy
import runpy
from pathlib import Path

import pytest
import torch

from nnunet_da.adaptation import RunningStandardisation

compiling = runpy.run_path(str(Path(__file__).with_name("test_compile.py")))
ARMS = [("nnUNetTrainer_UDA_GRL_MMD", "UDAPlans"), ("nnUNetTrainer_PFDAformer", "PFDAformerDemoPlans")]


def record_types(trainer) -> dict[str, set[torch.dtype]]:
    """Watch what enters and leaves the alignment terms."""
    seen, losses_of = {"features": set(), "losses": set()}, trainer.adaptation_losses

    def watched(source, target):
        losses = losses_of(source, target)
        seen["features"] |= {tensor.dtype for domain in (source, target) for tensor in (domain.features, domain.pooled)}
        seen["losses"] |= {loss.dtype for loss in losses.values()}
        return losses

    trainer.adaptation_losses = watched
    return seen


def check_types_and_gradients(trainer, seen, numbers) -> None:
    assert seen == {"features": {torch.float32}, "losses": {torch.float32}}
    assert all(torch.isfinite(torch.tensor(value)) for value in numbers.values())
    parameters = [*trainer.network.parameters(), *trainer.heads.parameters()]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(("name", "plans"), [pytest.param(*arm, marks=[pytest.mark.slow] * (arm[1] == "UDAPlans")) for arm in ARMS])
def test_alignment_leaves_autocast_on_the_cpu(make_trainer, monkeypatch, name, plans):
    """The trainer uses autocast on CUDA alone; here bfloat16 on the CPU stands in for it."""
    trainer = make_trainer(name, plans)
    batch = next(trainer.get_dataloaders()[0])
    monkeypatch.setattr("nnunet_da.training.supervised.nullcontext", lambda: torch.autocast("cpu", torch.bfloat16))
    network_types, forward = set(), trainer.network.forward
    trainer.network.forward = lambda *args, **kwargs: (out := forward(*args, **kwargs), network_types.add(out[1].dtype))[0]
    seen = record_types(trainer)
    check_types_and_gradients(trainer, seen, trainer.train_step(batch))
    if plans == "UDAPlans":
        assert network_types == {torch.bfloat16}  # so the test has something to leave


@pytest.fixture
def on_gpu(make_trainer, monkeypatch):
    """name, plans, compile -> (a trainer on the GPU, the same on the CPU, a batch)."""
    from nnunetv2.run.run_training import get_trainer_from_args

    def make(name, plans, compiled):
        monkeypatch.setenv("nnUNet_compile", str(compiled))
        cpu = make_trainer(name, plans)
        gpu = get_trainer_from_args("101", "3d_fullres", 0, name, plans, device=torch.device("cuda"))
        gpu.initialize()
        gpu._bare_network().load_state_dict(cpu.network.state_dict())
        gpu.heads.load_state_dict(cpu.heads.state_dict())
        for head in (*cpu.heads.values(), *gpu.heads.values()):
            head.train(isinstance(head, RunningStandardisation))  # dropout masks differ between devices
        return gpu, cpu, next(cpu.get_dataloaders()[0])

    return make


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("name", "plans"), ARMS)
def test_mixed_precision_on_the_gpu(on_gpu, name, plans, compiled):
    trainer, _, batch = on_gpu(name, plans, compiled)
    seen = record_types(trainer)
    numbers = [trainer.train_step(copy.deepcopy(batch)) for _ in range(20)]  # the scaler may skip the first ones
    check_types_and_gradients(trainer, seen, numbers[-1])
    assert numbers[-1]["loss_seg"] < numbers[0]["loss_seg"]


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "plans"), ARMS)
def test_step_on_the_gpu_is_that_of_the_cpu(on_gpu, monkeypatch, name, plans):
    """In float32 without TF32; 1e-3 of the gradient is what the order of sums moves."""
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", False)
    monkeypatch.setattr("torch.backends.cuda.matmul.allow_tf32", False)
    gpu, cpu, batch = on_gpu(name, plans, False)
    gpu.grad_scaler = None
    monkeypatch.setattr("nnunet_da.training.supervised.autocast", lambda *args, **kwargs: torch.autocast("cuda", enabled=False))
    numbers, expected = gpu.train_step(copy.deepcopy(batch)), cpu.train_step(copy.deepcopy(batch))
    for key, value in expected.items():
        assert numbers[key] == pytest.approx(value, rel=1e-3, abs=1e-5), key
    for modules in ((gpu.network, cpu.network), (gpu.heads, cpu.heads)):
        received, wanted = (torch.cat([p.grad.flatten().cpu() for p in module.parameters() if p.grad is not None]) for module in modules)
        assert (received - wanted).norm() < 1e-3 * wanted.norm()


@pytest.mark.gpu
@pytest.mark.parametrize("name", compiling["NETWORKS"])
def test_compiled_on_the_gpu(name, monkeypatch):
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", False)
    torch._dynamo.reset()
    torch.manual_seed(0)
    compiling["check_compiled"](compiling["NETWORKS"][name](), "inductor", "cuda")
