"""A user of the authors' code can bring a checkpoint folder along."""

import pytest
import torch

import attrinet
from attrinet.authors_checkpoint import import_checkpoint
from attrinet.cli import cli
from attrinet.errors import AttrinetError
from reference import FINDINGS


@pytest.fixture
def folder(reference, tmp_path):
    """The layout the authors' code saves: ckpt/net_g_best.pth, net_d_best.pth, classifier_of_…, center_of_…."""
    ckpt = tmp_path / "run" / "ckpt"
    ckpt.mkdir(parents=True)
    torch.save(reference.state("generator/"), ckpt / "net_g_best.pth")
    torch.save(reference.state("discriminator/"), ckpt / "net_d_best.pth")
    for name in FINDINGS:
        torch.save(reference.state("classifier/"), ckpt / f"classifier_of_{name}_best.pth")
        torch.save({"centers": reference["centers"]}, ckpt / f"center_of_{name}_best.pth")
    return tmp_path / "run"


def test_an_imported_folder_predicts_what_the_authors_code_predicts(reference, folder, tmp_path):
    from click.testing import CliRunner

    out = tmp_path / "model"
    names = ",".join(FINDINGS)
    result = CliRunner().invoke(
        cli, ["import", str(folder), "--out", str(out), "--findings", names, "--image-size", "128"]
    )
    assert result.exit_code == 0, result.output
    model = attrinet.load(out)
    explained = model.explain(reference.x)
    torch.testing.assert_close(explained.logits[:, 3:4], reference["class3/logit"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.global_explanation().positive_center[2].flatten(), reference["centers"][1])


def test_the_critic_comes_along(reference, folder):
    model = import_checkpoint(folder, FINDINGS, 128)
    torch.testing.assert_close(model.critic(reference.x, 0), reference["class0/critic_real"], rtol=1e-4, atol=1e-5)


def test_what_is_missing_or_does_not_fit_is_named(folder):
    with pytest.raises(AttrinetError, match="classifier_of_x_best.pth"):
        import_checkpoint(folder, ["x"], 128)
    with pytest.raises(AttrinetError, match="2 findings"):
        import_checkpoint(folder, FINDINGS[:2], 128)
    with pytest.raises(AttrinetError, match="do not fit 5 findings at 64 pixels"):
        import_checkpoint(folder, FINDINGS, 64)
    torch.save({}, folder / "ckpt" / f"center_of_{FINDINGS[0]}_best.pth")
    with pytest.raises(AttrinetError, match="do not fit"):
        import_checkpoint(folder, FINDINGS, 128)
    (folder / "ckpt" / "net_g_best.pth").write_bytes(b"no")
    with pytest.raises(AttrinetError, match="net_g_best.pth"):
        import_checkpoint(folder, FINDINGS, 128)


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], {"epoch": 7}, {7: torch.zeros(3)}])
@pytest.mark.parametrize("file", ["net_g", "net_d", f"classifier_of_{FINDINGS[1]}", f"center_of_{FINDINGS[1]}"])
def test_a_file_that_holds_something_else_is_named(folder, file, content):
    torch.save(content, folder / "ckpt" / f"{file}_best.pth")
    with pytest.raises(AttrinetError, match=f"{file}_best.pth: not a PyTorch state dict"):
        import_checkpoint(folder, FINDINGS, 128)


def test_a_checkpoint_that_would_run_code_is_refused(folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"a": Evil()}, folder / "ckpt" / "net_g_best.pth")
    with pytest.raises(AttrinetError, match="net_g_best.pth"):
        import_checkpoint(folder, FINDINGS, 128)
    assert not (tmp_path / "ran").exists()
