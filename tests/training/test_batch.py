import torch

from nnunet_da.training.batch import DomainBatch, shuffled


def batch(first: int, n: int) -> DomainBatch:
    numbers = torch.arange(first, first + n, dtype=torch.float32)
    return DomainBatch(numbers.reshape(n, 1, 1).expand(n, 1, 5), numbers[:, None], [str(int(number)) for number in numbers])


def test_shuffling_deals_the_same_samples_out_anew():
    torch.manual_seed(0)
    dealt = [shuffled(batch(0, 2), batch(2, 3)) for _ in range(60)]
    for one, other in dealt:
        assert (len(one.cases), len(other.cases)) == (2, 3)
        assert sorted(one.cases + other.cases) == ["0", "1", "2", "3", "4"]
        for part in (one, other):  # features, pooled and case of a sample stay together
            assert [float(case) for case in part.cases] == part.pooled[:, 0].tolist() == part.features[:, 0, 0].tolist()
    in_source = [sum(case in ("0", "1") for case in one.cases) / 2 for one, _ in dealt]
    assert 0.2 < sum(in_source) / len(in_source) < 0.6  # 2 of 5 by chance


def test_a_trainer_shuffles_where_its_settings_say_so(make_trainer):
    """The samples that the term sees come from both domains; unshuffled they do not."""
    seen = {}
    for shuffle in (False, True):
        trainer = make_trainer("nnUNetTrainer_UDA_MMD", "UDAPlans", shuffle_domains=shuffle)
        trainer.on_train_start()
        original, cases = trainer.adaptation_losses, []
        trainer.adaptation_losses = lambda source, target, original=original, cases=cases: (
            cases.extend(source.cases) or original(source, target)
        )
        for _ in range(3):
            trainer.train_step(next(trainer.dataloader_train))
        seen[shuffle] = {case.startswith("Dataset102_B") for case in cases}
    assert seen == {False: {False}, True: {False, True}}
