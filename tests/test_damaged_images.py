"""Images of every format, damaged at random: each is an example that can be read, or rejected."""

from pathlib import Path

import pytest

from tests.support import damaged_images


@pytest.mark.parametrize("image_size", [0, 64])
def test_damaged_image_is_rejected_by_name_or_can_be_read(image_size: int, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    damaged_images.write(folder, count=250, seed=image_size)
    outcome = damaged_images.survive(folder, f"--image_size={image_size}", "--num_workers=1")
    assert outcome.examples > 50
    assert outcome.reasons.total() > 50
