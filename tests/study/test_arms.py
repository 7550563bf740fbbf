import pytest

from nnunet_da.errors import UserError
from nnunet_da.study.arms import resolve_arms
from nnunet_da.study.file import read_study


@pytest.fixture
def arms_of(write, content):
    def resolve(lacking: dict | None = None, **changes):
        return {arm.name: arm for arm in resolve_arms(read_study(write(content | changes)), lacking or {})}

    return resolve


def test_every_study_has_its_references(arms_of):
    arms = arms_of()
    assert list(arms) == ["source_only", "zero_weight", "oracle", "joint", "both", "mmd"]
    assert {name for name, arm in arms.items() if arm.reference} == {"source_only", "zero_weight", "oracle", "joint"}
    assert arms["source_only"].trainer == arms["oracle"].trainer == arms["joint"].trainer == "nnUNetTrainer_UDA_SourceOnly"
    assert arms["oracle"].kind == "oracle"


def test_zero_weight_is_the_primary_method_without_weights(arms_of):
    first = {"name": "both", "trainer": "nnUNetTrainer_UDA_GRL_MMD", "settings": {"w_adv": 0.3, "grl_lambda_max": 0.5}}
    zero = arms_of(arms=[first])["zero_weight"]
    assert zero.trainer == "nnUNetTrainer_UDA_GRL_MMD"
    assert (zero.settings["w_adv"], zero.settings["w_mmd"]) == (0.0, 0.0)
    assert zero.settings["grl_lambda_max"] == 0.5  # all but the weights stays


def test_references_follow_the_declared_method_and_its_family(arms_of):
    arms = [
        {"name": "uda", "trainer": "nnUNetTrainer_UDA_GRL"},
        {"name": "pf", "trainer": "nnUNetTrainer_PFDAformer", "preset": "pf_daformer_demo"},
    ]
    found = arms_of(arms=arms, primary={"method": "pf"})
    assert found["source_only"].trainer == "nnUNetTrainer_PFDAformer_SourceOnly"
    assert found["source_only"].preset == "pf_daformer_demo"
    assert found["zero_weight"].trainer == "nnUNetTrainer_PFDAformer"


def test_without_target_labels_there_is_no_oracle(arms_of):
    lacking = dict.fromkeys(["oracle", "joint"], "B has no label map for 'c7'")
    assert list(arms_of(lacking)) == ["source_only", "zero_weight", "both", "mmd"]
    with pytest.raises(UserError, match="'oracle' trains on the target's labels, but B has no label map for 'c7'"):
        arms_of(lacking, references=["source_only", "oracle"])
    with pytest.raises(UserError, match="'joint' trains on the target's labels"):
        arms_of(lacking, arms=[{"name": "both", "trainer": "nnUNetTrainer_UDA_GRL_MMD"}, {"name": "joint"}])


def test_an_oracle_alone_can_be_lacking(arms_of):
    assert list(arms_of({"oracle": "B is too small"})) == ["source_only", "zero_weight", "joint", "both", "mmd"]


def test_references_can_be_left_out(arms_of):
    assert list(arms_of(references=[])) == ["both", "mmd"]


def test_arms_start_from_others(arms_of):
    arms = [
        {"name": "mmd", "trainer": "nnUNetTrainer_UDA_MMD", "settings": {"w_mmd": 0.5}},
        {"name": "adabn", "adapt_bn": "source_only"},
        {"name": "pseudo", "self_train": "mmd", "confidence": 0.8},
    ]
    found = arms_of(arms=arms, preset="uda_small_bn")
    assert (found["adabn"].kind, found["adabn"].parent, found["adabn"].trains) == ("adapt_bn", "source_only", False)
    assert found["adabn"].trainer == "nnUNetTrainer_UDA_SourceOnly"
    assert (found["pseudo"].kind, found["pseudo"].trainer) == ("self_train", "nnUNetTrainer_UDA_MMD")
    assert (found["pseudo"].settings["w_mmd"], found["pseudo"].confidence) == (0.5, 0.8)


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ({"name": "x"}, ("must name a trainer",)),
        ({"name": "x", "adapt_bn": "mmd", "self_train": "mmd"}, ("got both",)),
        ({"name": "x", "adapt_bn": "nobody"}, ("'nobody'", "source_only")),
        ({"name": "x", "adapt_bn": "x"}, ("'x'",)),
        ({"name": "x", "adapt_bn": "oracle"}, ("trains on the source",)),
        ({"name": "x", "adapt_bn": "mmd"}, ("BatchNorm", "the preset uda has none")),
        ({"name": "x", "trainer": "nnUNetTrainer_UDA_GRL", "confidence": 0.5}, ("'x' has a confidence",)),
        ({"name": "x", "trainer": "nnUNetTrainer_UDA_GRL", "title": "mmd"}, ("'mmd' comes twice",)),
        ({"name": "x", "trainer": "nnUNetTrainer_UDA_GRL", "title": "source only"}, ("'source only' comes twice",)),
        ({"name": "zero_weight", "adapt_bn": "mmd"}, ("'zero_weight' is trained as its name says",)),
        ({"name": "zero_weight", "settings": {"w_adv": 5.0}}, ("weights of 'zero_weight' are 0",)),
        ({"name": "zero_weight", "trainer": "nnUNetTrainer_UDA_SourceOnly"}, ("'zero_weight'", "has no weights")),
        ({"name": "source_only", "trainer": "nnUNetTrainer_UDA_GRL"}, ("'source_only'", "which adapts")),
        ({"name": "source_only", "trainer": "nnUNetTrainer_UDA_Fourier"}, ("'source_only'", "which adapts")),
        ({"name": "source_only", "trainer": "nnUNetTrainer"}, ("must be one of", "'nnUNetTrainer'")),
        ({"name": "x", "trainer": "nnUNetTrainer_Nothing"}, ("nnUNetTrainer_Nothing", "nnUNetTrainer_UDA_MMD")),
        ({"name": "x", "trainer": "nnUNetTrainer_PFDAformer"}, ("arm 'x'", "TransUNet3D", "pf_daformer")),
        ({"name": "x", "trainer": "nnUNetTrainer_UDA_GRL", "preset": "nothing"}, ("nothing", "pf_daformer")),
        ({"name": "x", "trainer": "nnUNetTrainer_UDA_GRL", "preset": "uda_finetune"}, ("checkpoint",)),
        ({"name": "x", "trainer": "nnUNetTrainer_UDA_GRL", "settings": {"init_checkpoint": "old.pth"}}, ("checkpoint (old.pth)",)),
        ({"name": "x", "trainer": "nnUNetTrainer_UDA_GRL", "settings": {"w_adw": 1}}, ("'w_adw'", "w_adv")),
        ({"name": "x", "trainer": "nnUNetTrainer_UDA_GRL", "settings": {"num_epochs": 4}}, ("'x' 8", "6", "same number of iterations")),
    ],
)
def test_bad_arms_are_refused(arms_of, arm, words):
    with pytest.raises(UserError) as error:
        arms_of(arms=[{"name": "mmd", "trainer": "nnUNetTrainer_UDA_MMD"}, arm])
    for word in words:
        assert word in str(error.value)


def test_a_reference_that_is_left_out_is_no_name_for_another_arm(arms_of):
    """Trained on the source, it would be taken for the oracle of the gap."""
    arms = [{"name": "mmd", "trainer": "nnUNetTrainer_UDA_MMD"}, {"name": "oracle", "trainer": "nnUNetTrainer_UDA_SourceOnly"}]
    with pytest.raises(UserError, match="'oracle' is a reference that 'references' leaves out"):
        arms_of(arms=arms, references=["source_only", "zero_weight"])


def test_arms_in_a_chain_are_refused_by_the_arm_that_is_wrong(arms_of):
    arms = [{"name": "mmd", "trainer": "nnUNetTrainer_UDA_MMD"}, {"name": "a", "self_train": "b"}, {"name": "b", "self_train": "mmd"}]
    with pytest.raises(UserError, match="the arm 'a' must start from an arm that trains on the source, 'b' does not"):
        arms_of(arms=arms)


def test_the_arm_of_another_length_is_named_and_not_a_reference(arms_of):
    arms = [
        {"name": "mmd", "trainer": "nnUNetTrainer_UDA_MMD"},
        {"name": "long", "trainer": "nnUNetTrainer_UDA_GRL", "settings": {"num_epochs": 9}},
    ]
    with pytest.raises(UserError, match="'mmd' has 6 and 'long' 18"):
        arms_of(arms=arms)


def test_an_unknown_primary_method_is_refused(arms_of):
    with pytest.raises(UserError, match="'primary' must name a method among the arms"):
        arms_of(primary={"method": "grl"})


def test_without_alignment_terms_zero_weight_is_that_of_another_arm(arms_of):
    """A rival that restyles has no weights to take away: it would be compared with itself."""
    fourier, mmd = ({"name": name, "trainer": f"nnUNetTrainer_UDA_{trainer}"} for name, trainer in (("fourier", "Fourier"), ("mmd", "MMD")))
    assert arms_of(arms=[fourier, mmd])["zero_weight"].trainer == "nnUNetTrainer_UDA_MMD"
    assert arms_of(arms=[fourier])["zero_weight"].trainer == "nnUNetTrainer_UDA_GRL_MMD"


def test_references_of_an_adapted_model_follow_the_arm_it_starts_from(arms_of):
    grl, mmd, adabn = (
        {"name": "grl", "trainer": "nnUNetTrainer_UDA_GRL"},
        {"name": "mmd", "trainer": "nnUNetTrainer_UDA_MMD", "preset": "uda_small_bn"},
        {"name": "adabn", "adapt_bn": "mmd"},
    )
    found = arms_of(arms=[grl, mmd, adabn], primary={"method": "adabn"})
    assert (found["zero_weight"].trainer, found["zero_weight"].preset) == ("nnUNetTrainer_UDA_MMD", "uda_small_bn")


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ({"adapt_bn": "mmd", "settings": {"w_mmd": 1.0}}, "leave its trainer and settings out"),
        ({"adapt_bn": "mmd", "trainer": "nnUNetTrainer_UDA_GRL"}, "leave its trainer and settings out"),
        ({"adapt_bn": "mmd", "preset": "uda_small"}, "the preset uda_small: leave it out"),
        ({"self_train": "mmd", "preset": "uda_small"}, "the preset uda_small: leave it out"),
        ({"self_train": "mmd", "confidence": 7.0}, "between 0 and 1, got 7"),
    ],
)
def test_what_an_arm_that_starts_from_another_cannot_have(arms_of, arm, words):
    with pytest.raises(UserError, match=words):
        arms_of(arms=[{"name": "mmd", "trainer": "nnUNetTrainer_UDA_MMD"}, {"name": "other", **arm}])


def test_an_unknown_trainer_is_reported_of_the_arm_that_names_it(arms_of):
    with pytest.raises(UserError, match=r"the arm 'a': the trainer must be one of .* got 'nnUNetTrainer_Nope'"):
        arms_of(arms=[{"name": "a", "trainer": "nnUNetTrainer_Nope"}])
