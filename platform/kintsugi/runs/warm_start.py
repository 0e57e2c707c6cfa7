"""How a run begins: its identity, and the networks it starts from or learns by; knows no loop.

What comes from another run or a release is kept in the run's own folder: the other may be
trained on, or deleted, while this one is interrupted and taken up again.
"""

import hashlib
import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from kintsugi.collectives import fetch_once
from kintsugi.config.run_config import JobConfig, differing_keys
from kintsugi.data.mask_files.mask_folder import pin_masks, with_pinned
from kintsugi.data.mask_files.packed_masks import open_packed
from kintsugi.data.sampler import order_version
from kintsugi.data.shard_manifest import MANIFEST_NAME as SHARDS_MANIFEST
from kintsugi.data.shard_manifest import read_manifest
from kintsugi.data.shard_reader import open_reader
from kintsugi.data.splits import HELD_OUT, TRAIN
from kintsugi.errors import ConfigError, StorageError
from kintsugi.masks.sets import names_place
from kintsugi.models.build import ModelConfig, build_generator, build_initial_fill
from kintsugi.models.networks.feature2image import add_pixel_inputs
from kintsugi.models.networks.image2feature import CoarseGenerator
from kintsugi.models.weights import current_name, read_weights
from kintsugi.runs.run import CONFIG_NAME, Run, open_encoder
from kintsugi.runs.weights import (
    State,
    TrainedNetworks,
    check_fit,
    join_generator,
    open_networks,
)
from kintsugi.stages.base.registry import stage_spec
from kintsugi.storage.checksums import MANIFEST_NAME, verify_checksums, write_checksums
from kintsugi.storage.storage import Storage

INPUTS_NAME = "inputs.json"
PINNED_STAGE1 = "stage1"
PINNED_START = "start"


def open_run(config: JobConfig) -> Run:
    """Start the run that a configuration names, or take it up again; in the driver, once.

    A run that has no checkpoint yet is started again, with whatever configuration.

    Raises:
        ConfigError: the run has checkpoints, and another configuration or other shards; or
            encoder, stage 1 or init_from cannot be opened or do not fit; or masks cannot be used.
        StorageError: shards, encoder, stage 1, init_from or masks are missing or altered.
    """
    run = Run.of(config)
    inputs = check_run(config)
    run.storage.sweep()
    if not run.checkpoints.steps():
        # First: what a user gives is what is most likely to be refused, and nothing is copied yet.
        masks = pin_masks(config.data, run.storage)
        _pin_stage1(run, config)
        start = _pin_start(run, config)
        run.storage.write(INPUTS_NAME, json.dumps(inputs | start | {"masks": masks}).encode())
    run.storage.write(CONFIG_NAME, json.dumps(config.to_dict(), indent=2).encode())
    return run


def as_opened(config: JobConfig) -> JobConfig:
    """The configuration of an opened run, with what the run keeps of masks for their places."""
    return replace(config, data=with_pinned(config.data, Run.of(config).storage))


def check_run(config: JobConfig) -> dict[str, Any]:
    """What `open_run` refuses but for new masks, without writing anything.

    Returns: what identifies the inputs.
    """
    config.check_shares()
    run = Run.of(config)
    # Says what to do when there are no shards.
    manifest = read_manifest(Storage(config.data.shards))
    shards = Storage(config.data.shards).read(SHARDS_MANIFEST)
    inputs: dict[str, Any] = {"shards_sha256": hashlib.sha256(shards).hexdigest()}
    inputs["order_version"] = order_version(len(manifest.only(TRAIN)))
    inputs["encoder_sha256"] = _digest(open_encoder(config.encoder, config.seed))
    if config.held_out.photos:
        # Here, not in every worker: says how to pack some.
        open_reader(config.data.shards, config.data.resize_px, split=HELD_OUT)
    if run.checkpoints.steps():
        _check_identity(run, config, inputs)
    return inputs


def _digest(network: nn.Module) -> str:
    total = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        total.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def _check_identity(run: Run, config: JobConfig, inputs: dict[str, Any]) -> None:
    keys = differing_keys(run.config().to_dict(), config.to_dict())
    if keys:
        raise ConfigError(
            f"run {config.run!r} exists in {config.storage} with other values of"
            f" {', '.join(keys)}: restore them to resume it, or choose another name with"
            " --set run=NAME"
        )
    began_with = json.loads(run.storage.read(INPUTS_NAME))
    if began_with["encoder_sha256"] != inputs["encoder_sha256"]:
        raise ConfigError(
            f"encoder={config.encoder!r} has not the weights that run {config.run!r} began with:"
            " restore them to resume it, or choose another name with --set run=NAME"
        )
    # Runs from before it was noted have the first.
    if began_with.get("order_version", 1) != inputs["order_version"]:
        raise ConfigError(
            f"run {config.run!r} began with the order of photographs of an earlier Kintsugi, which"
            " large data sets no longer have: go on with that one, or start another run from it"
            f" with --set run=NAME --set init_from={run.storage.uri}"
        )
    if began_with["shards_sha256"] != inputs["shards_sha256"]:
        raise ConfigError(
            f"the shards at {config.data.shards} are not those that run {config.run!r} began with:"
            " restore them to resume it, or choose another name with --set run=NAME"
        )

    _check_masks(run, config, began_with.get("masks", []))


def _check_masks(run: Run, config: JobConfig, began_with: list[dict[str, Any]]) -> None:
    """Raises: ConfigError: what the run keeps of masks is gone, or of other masks."""
    kept = [each for each in with_pinned(config.data, run.storage).masks if names_place(each)]
    remedy = "restore them to resume it, or choose another name with --set run=NAME"
    for about, uri in zip(began_with, kept, strict=True):
        try:
            found = open_packed(uri).sha256
        except StorageError as error:
            raise ConfigError(f"masks that run {config.run!r} keeps: {error}; {remedy}") from error
        if found != about["sha256"]:
            raise ConfigError(
                f"the masks at {uri} are not those of {about['uri']} that run {config.run!r} began"
                f" with: {remedy}"
            )


def _pin_stage1(run: Run, config: JobConfig) -> None:
    """Keep stage 1's generator, whose predictions are mixed in."""
    if config.translate.prediction_share == 0:
        return
    networks = open_networks(config.translate.stage1)
    if "infer" not in networks.parts:
        raise ConfigError(
            f"translate.stage1={config.translate.stage1!r} has no stage 1: it holds"
            f" {', '.join(networks.parts)}"
        )
    about = asdict(networks.model)
    _publish(run, PINNED_STAGE1, {"generator": networks.parts["infer"]}, about)


def pinned_stage1(run: Run, device: torch.device | None = None) -> CoarseGenerator:
    """Stage 1's generator as the run keeps it, on every rank; fetched by the first of them.

    Raises: StorageError when it is altered.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if device is None:
            _fetch(run, PINNED_STAGE1, folder)
        else:
            fetch_once(lambda here: _fetch(run, PINNED_STAGE1, here), folder, device)
        model = ModelConfig(**json.loads((folder / CONFIG_NAME).read_text()))
        generator = build_generator(model, seed=0)
        generator.load_state_dict(read_weights(folder / "generator.safetensors"))
        return generator


def _pin_start(run: Run, config: JobConfig) -> dict[str, Any]:
    """Keep what the run starts from. Returns: its description for `inputs.json`."""
    if not config.init_from:
        return {}
    networks = open_networks(config.init_from)
    spec = stage_spec(config.stage)
    generator = list(spec.generator)
    # One that is never trained is of no use.
    discriminator = spec.discriminator[0] if spec.judges(config.losses) else ""
    missing = [part for part in generator if part not in networks.parts]
    if missing == ["infer"] and "initial_fill" in networks.parts:
        return _pin_initial_fill(run, config, networks)
    if missing:
        raise ConfigError(
            f"init_from={config.init_from!r} has no {missing[0]}, which {config.stage} trains: it"
            f" holds {', '.join(networks.parts)}; name a release or a run of {config.stage}"
        )
    needed = [*generator, *({discriminator} & networks.parts.keys())]
    digest = networks.digest()
    if config.model.translator_input == "features+pixels" and "translate" in generator:
        networks = _add_pixel_inputs(networks)
    if "initial_fill" in generator:
        networks = _add_pointers(networks, config)
    check_fit(networks, needed, config.model, "init_from")
    if "translate" in generator:
        _check_encoder(networks, config)
    states = {"generator": join_generator(config.stage, networks.parts)}
    if discriminator in networks.parts:
        states["discriminator"] = networks.parts[discriminator]
    about = _describe(networks, digest, sorted(states))
    _publish(run, PINNED_START, states, about)
    return {"init_from": about}


def _pin_initial_fill(run: Run, config: JobConfig, networks: TrainedNetworks) -> dict[str, Any]:
    """Keep the predictor of G1's initial fill; the rest of G1 is drawn from the seed."""
    if config.model.generator_input != "predicted":
        raise ConfigError(
            f"init_from={config.init_from!r} predicts an initial fill, which G1 takes only with"
            ' model.generator_input = "predicted": set that'
        )
    check_fit(networks, ["initial_fill"], config.model, "init_from")
    about = _describe(networks, networks.digest(), ["initial_fill"])
    _publish(run, PINNED_START, {"initial_fill": networks.parts["initial_fill"]}, about)
    return {"init_from": about}


def _check_encoder(networks: TrainedNetworks, config: JobConfig) -> None:
    """Features of another encoder mean nothing to a network that translates them."""
    theirs = networks.open_encoder().state_dict()
    ours = open_encoder(config.encoder, config.seed).state_dict()
    if any(not torch.equal(theirs[name], value) for name, value in ours.items()):
        raise ConfigError(
            f"init_from={networks.uri!r} was trained with other encoder weights than"
            f" encoder={config.encoder!r}: name the encoder of the source"
        )


def _add_pixel_inputs(networks: TrainedNetworks) -> TrainedNetworks:
    """The same networks, whose Feature2Image takes pixels if it did not yet."""
    if networks.model.translator_input == "features+pixels":
        return networks
    parts = networks.parts | {"translate": add_pixel_inputs(networks.parts["translate"])}
    return replace(
        networks, parts=parts, model=replace(networks.model, translator_input="features+pixels")
    )


def _add_pointers(networks: TrainedNetworks, config: JobConfig) -> TrainedNetworks:
    """The same networks; queries and keys take the place of a U-Net's colours if it shall point."""
    if (networks.model.initial_fill, config.model.initial_fill) != ("unet", "pointer"):
        return networks
    model = replace(networks.model, initial_fill="pointer")
    drawn = build_initial_fill(model, seed=config.seed).state_dict()
    learnt = networks.parts["initial_fill"]
    kept = {name: value for name, value in learnt.items() if not name.startswith("end.")}
    parts = networks.parts | {"initial_fill": drawn | kept}
    return replace(networks, parts=parts, model=model)


def _describe(networks: TrainedNetworks, digest: str, taken: list[str]) -> dict[str, Any]:
    return {
        "uri": networks.uri,
        "step": networks.step,
        "weights": networks.weights,
        "digest": digest,
        "taken": taken,
    }


def load_start(run: Run, generator: nn.Module, discriminator: nn.Module) -> None:
    """Give a run's networks the weights that it starts from.

    A discriminator that the source did not have keeps those of its seed. Raises:
    StorageError when what the run keeps is altered.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _fetch(run, PINNED_START, folder)
        kept = {current_name(path.stem): path for path in folder.glob("*.safetensors")}
        if "initial_fill" in kept:
            predictor = generator.get_submodule("initial_fill")
            predictor.load_state_dict(read_weights(kept["initial_fill"]))
            return
        generator.load_state_dict(read_weights(kept["generator"]))
        if "discriminator" in kept:
            discriminator.load_state_dict(read_weights(kept["discriminator"]))


def _publish(run: Run, name: str, states: dict[str, State], about: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for network, state in states.items():
            plain = {key: value.contiguous() for key, value in state.items()}
            save_file(plain, folder / f"{network}.safetensors")
        (folder / CONFIG_NAME).write_text(json.dumps(about))
        write_checksums(folder)
        # Another try of the run may have left more files than this one writes.
        run.storage.delete_folder(name)
        run.storage.publish_folder(folder, name, last=MANIFEST_NAME)


def _fetch(run: Run, name: str, folder: Path) -> None:
    run.storage.fetch_folder(name, folder)
    verify_checksums(folder, f"{run.storage.uri}/{name}")
