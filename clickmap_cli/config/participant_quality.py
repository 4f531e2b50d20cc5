"""The schema of the participant-quality model, which tells careful participants from others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clickmap_cli.config.fields import fail, key


# fmt: off
# One line per key, so that the schema reads as a table.
@dataclass
class ParticipantQualityData:
    """The trials, and the participants whose quality is known."""

    experiment: str | None = key(None, "YAML file of the experiment whose trials are learnt from; its filters up to class_filter_file apply, including catch_threshold.", "input")
    good_users: str | list[str] | None = key(None, "Careful participants: a text file with one id a line, or a list.", "input")
    bad_users: str | list[str] | None = key(None, "Careless or cheating participants, given in the same way.", "input")


@dataclass
class ParticipantQualityNetwork:
    """The network and its input."""

    hidden: int = key(32, "Units of the GRU in each direction.", "scores", minimum=1, maximum=1024)
    layers: int = key(1, "Layers of the GRU.", "scores", minimum=1, maximum=8)
    dropout: float = key(0.1, "Share of activations dropped during training.", "scores", minimum=0, maximum=0.95)
    context: bool = key(True, "Also give the network the number of other participants who clicked near each click.", "scores")
    max_clicks: int | None = key(200, "Maximum clicks of a trial that the network sees, the first ones; null = all.", "scores", minimum=1)


@dataclass
class ParticipantQualityTraining:
    """Settings of the training."""

    num_epochs: int = key(10, "Epochs; each has as many trials of bad participants as of good ones.", "scores", minimum=1)
    batch_size: int = key(64, "Trials per optimiser step.", "scores", minimum=1)
    lr: float = key(3e-3, "Learning rate; it falls to 0 as a cosine.", "scores", minimum=0)
    weight_decay: float = key(1e-2, "Weight decay.", "scores", minimum=0)
    clip_norm: float | None = key(1.0, "Maximum norm of all gradients together; null = no clipping.", "scores", minimum=1e-12)


@dataclass
class ParticipantQualityConfig:
    """One participant-quality model. Relative paths are taken from the folder the command is called in."""

    task: str = key("participant_quality", "Task: participant_quality.", "scores", choices=("participant_quality",))
    experiment: str = key("participant_quality", "Name of the run.", "run")
    output_dir: str = key("results/participant_quality", "Folder of the model and the tables.", "run")
    data: ParticipantQualityData = key(ParticipantQualityData, "Trials and known participants (see below).", "input")
    model: ParticipantQualityNetwork = key(ParticipantQualityNetwork, "The network (see below).", "scores")
    training: ParticipantQualityTraining = key(ParticipantQualityTraining, "Training settings (see below).", "scores")
    folds: int = key(5, "Folds of participants; each is judged by a network that has not seen them.", "scores", minimum=2)
    threshold: float = key(0.5, "Flag a participant whose probability of being bad reaches this.", "scores", minimum=0, maximum=1)
    seed: int = key(0, "Seed of every random draw.", "scores", minimum=0)

# fmt: on


def check_participant_quality(config: ParticipantQualityConfig, sources: Mapping[str, str]) -> None:
    """Raise unless the experiment and the known participants are named.

    Raises:
        ConfigError: one of them is not named.
    """
    for name, meaning in (
        ("experiment", "the YAML file of the experiment whose trials are learnt from"),
        ("good_users", "participants known to be careful"),
        ("bad_users", "participants known to be careless or to cheat"),
    ):
        if getattr(config.data, name) is None:
            fail(sources, "data", f"has no {name}; it names {meaning}.")
