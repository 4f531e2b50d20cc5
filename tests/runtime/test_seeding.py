from __future__ import annotations

import hashlib

import numpy as np
import pytest

from clickmap_cli.runtime.seeding import generator


def test_generators_depend_on_their_names_alone() -> None:
    def draw(*names: str, seed: int = 0) -> list[float]:
        return generator(seed, *names).random(3).tolist()

    assert draw("a", "b") == draw("a", "b")
    assert (
        len({tuple(draw(*n)) for n in (("a", "b"), ("ab",), ("a",), ("b", "a"), ("a", "b", ""))})
        == 5
    )
    assert draw("a", seed=1) != draw("a")
    # no two of many images share a stream
    firsts = {
        generator(seed, f"{at}.png", "halves").random() for seed in (0, 1) for at in range(900)
    }
    assert len(firsts) == 1800
    # independent streams: correlations of many stay around zero
    streams = np.array([generator(0, str(i)).random(200) for i in range(50)])
    off = np.corrcoef(streams)[np.triu_indices(50, 1)]
    assert abs(off.mean()) < 0.01


@pytest.mark.parametrize("words", [(), ("a.png",), ("é/\ud800.png", "halves"), ("", "")])
def test_a_stream_stays_what_published_numbers_were_drawn_from(words) -> None:
    text = "7" + "".join("\x1f" + word for word in words)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    number = sum(byte << (8 * at) for at, byte in enumerate(digest[:16]))
    wanted = np.random.Generator(np.random.PCG64(number)).random(4)
    np.testing.assert_array_equal(generator(7, *words).random(4), wanted)
