"""`gcsim list` and `gcsim show`: profiles for people, and as JSON."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gcsim.cli.console import OutputFormat
from gcsim.profiles.library import Library, root

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from gcsim.profiles.base import Quantity
    from gcsim.profiles.chip import Chip
    from gcsim.profiles.inherit import Entry


@dataclass(frozen=True, slots=True)
class Shape:
    """What a placement is asked for."""

    chip: str
    model: str
    tp: int
    ep: int
    pp: int
    dtype: str | None


def listed(kind: str, library: Library | None = None) -> list[dict[str, Any]]:
    """Name, description and file of every profile of a kind, and whether it is the user's own."""
    library = library or Library()
    own = library.owned(kind)
    return [
        {
            "name": name,
            "description": _description(path),
            "file": str(path),
            "from": "own" if name in own else "shipped",
        }
        for name, path in sorted(library.profiles(kind).items())
    ]


def _description(path: Path) -> str:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return "(cannot be read)"
    text = data.get("description", "") if isinstance(data, dict) else "(is no profile)"
    if isinstance(text, str) and not text and isinstance(data.get("base"), str):
        text = f"{data['base']}, with changes"
    return " ".join(text.split()) if isinstance(text, str) else ""


def listed_table(title: str, rows: list[dict[str, Any]]) -> "Table":
    """Names and descriptions; where some are the user's own, also from where each comes."""
    mixed = any(row["from"] == "own" for row in rows)
    table = _table(title.rstrip("s"), *(["from"] if mixed else []), "description")
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(row["name"], *([row["from"]] if mixed else []), row["description"])
    return table


def shown(
    kind: str,
    name: str,
    output: OutputFormat,
    library: Library | None = None,
    shape: Shape | None = None,
) -> "RenderableType | dict[str, Any]":
    """One profile, or a placement, as what `emit` takes."""
    library = library or Library()
    if shape is not None:
        return _placement(shape, output, library)
    from gcsim.profiles.inherit import read

    if kind == "scenario":
        from gcsim.profiles.resolve import resolve

        mapping = resolve(name, library=library).mapping
        if output is OutputFormat.json:
            return mapping
        return f"{_provenance(read(kind, name, library))}{_as_yaml(mapping)}"
    from gcsim.profiles.load import validate
    from gcsim.profiles.resolve import whole

    entry = whole(kind, name, library)
    spec = validate(_spec(kind), entry.mapping, str(entry.path), entry.lines)
    if kind == "chip":
        return _json(spec, entry) if output is OutputFormat.json else _chip(spec, entry)
    if kind == "model":
        found = {**_model_dict(spec), **_files(entry)}
        return found if output is OutputFormat.json else _model(spec, entry)
    if output is OutputFormat.json:
        found = _json(spec, entry, exclude_none=kind != "deployment")
        for key, pool in getattr(spec, "all_pools", {}).items():
            of = "cpu" if pool.role == "tools" else "chip"
            found["pools"][key][of] = getattr(pool, of).name
        return found
    entry = read(kind, name, library)
    mapping = entry.mapping if kind != "workload" else whole(kind, name, library).mapping
    return f"{_provenance(entry)}{_as_yaml(mapping)}"


def _spec(kind: str) -> Any:
    from gcsim.profiles.chip import Chip
    from gcsim.profiles.deployment import Deployment
    from gcsim.profiles.model import Model
    from gcsim.profiles.site import Site
    from gcsim.profiles.stack import ServingStack
    from gcsim.profiles.tools import Cpu
    from gcsim.profiles.workload import Workload

    return {
        "chip": Chip,
        "cpu": Cpu,
        "stack": ServingStack,
        "model": Model,
        "deployment": Deployment,
        "site": Site,
        "workload": Workload,
    }[kind]


def _json(spec: Any, entry: "Entry", exclude_none: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_none=exclude_none)
    return {**found, **_files(entry)}


def _files(entry: "Entry") -> dict[str, Any]:
    """Where a profile comes from: its file, those that it is based on, what is its own."""
    return {"file": str(entry.path), "based_on": bases(entry), "own": own_places(entry)}


def bases(entry: "Entry") -> list[str]:
    """The files that a profile inherits from."""
    return sorted({mark.file for mark in entry.lines.values()} - {str(entry.path)})


def own_places(entry: "Entry") -> list[str]:
    """What a profile that inherits says itself, as dotted paths; of nested ones the shortest."""
    inherited = {at for at, mark in entry.lines.items() if mark.file != str(entry.path)}
    if not inherited:
        return []
    found: list[tuple[str | int, ...]] = []
    for at in entry.lines:
        if at in inherited or any(other[: len(at)] == at for other in inherited):
            continue
        if not any(at[: len(other)] == other for other in found):
            found.append(at)
    return [".".join(map(str, at)) for at in found]


def _provenance(entry: "Entry") -> str:
    """Lines above a profile: its file, and what of it is inherited."""
    lines = [_place(entry.path)]
    if based_on := bases(entry):
        lines.append(f"based on {', '.join(_place(Path(file)) for file in based_on)}")
        lines.append(f"its own: {', '.join(own_places(entry))}")
    return "".join(f"# {line}\n" for line in lines)


def _place(path: Path) -> str:
    """A file as people know it: shipped ones from the library's root."""
    if path.is_relative_to(root()):
        return f"{path.relative_to(root()).as_posix()} (shipped)"
    return str(path)


def _as_yaml(mapping: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True, width=100)
    return text


def _chip(chip: "Chip", entry: "Entry") -> "RenderableType":
    """Every number of a chip, where it comes from, and the values that were not taken."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    from gcsim.profiles.assumed import quantities

    head = f"{chip.name} ({chip.vendor}), execution: {chip.execution}"
    parts: list[RenderableType] = [Text(head, style="bold"), " ".join(chip.description.split())]
    parts.append(Text(_provenance(entry).replace("# ", "").rstrip(), style="dim"))
    section, assumed = "", 0
    for path, quantity in quantities(chip):
        place, _, name = _named(path, chip).rpartition(".")
        if place != section:
            parts.append(Text(f"\n{place}", style="bold"))
            section = place
        assumed += quantity.kind == "assumed"
        style = "yellow" if quantity.kind == "assumed" else ""
        parts.append(Text(f"  {_number(name, quantity)}", style=style))
        lines = (Text(line, style="dim") for line in _origin(quantity, _inherited(path, entry)))
        parts += [Padding(line, (0, 0, 0, 6), expand=False) for line in lines]
    text = f"{assumed} of these numbers are assumed: nobody publishes them."
    parts.append(Text("\n".join(["", text, *(" ".join(note.split()) for note in chip.notes)])))
    return Group(*parts)


def _number(name: str, quantity: "Quantity") -> str:
    from gcsim.units import show

    low, high = (
        "" if end is None else show(end, quantity.dimension)
        for end in (quantity.low, quantity.high)
    )
    span = f"{low or 'below'} .. {high or 'above'}" if low or high else ""
    return f"{name:<32}{quantity!s:<16}{span:<26}{quantity.kind}".rstrip()


def _inherited(path: str, entry: "Entry") -> str:
    """Of whom a chip has a number that is not its own; empty where it is its own."""
    from gcsim.profiles.load import mark_of

    place = tuple(int(key) if key.isdigit() else key for key in path.split("."))
    mark = mark_of(place, entry.lines)
    if place[0] == "efficiency" and place not in entry.lines:  # from the factors that it names
        mark = entry.lines.get(("factors",))
    return "" if mark is None or mark.file == str(entry.path) else Path(mark.file).stem


def _origin(quantity: "Quantity", inherited: str = "") -> list[str]:
    whose = f"{inherited}'s: " if inherited else ""
    lines = [f"{whose}{quantity.source}{f' ({quantity.note})' if quantity.note else ''}"]
    lines += [f"not taken: {other.value}, {other.source}" for other in quantity.conflicts]
    return [" ".join(line.split()) for line in lines if line]


def _named(path: str, chip: "Chip") -> str:
    """memory.1.bandwidth as memory.hbm.bandwidth."""
    parts = path.split(".")
    if parts[0] == "memory":
        parts[1] = chip.memory[int(parts[1])].tier
    return ".".join(parts)


def _model_dict(model: Any) -> dict[str, Any]:
    from gcsim.machine.counts import count, kv_bytes_per_token, weight_bytes
    from gcsim.machine.layers import layers_of

    counts, kv, layers = count(model), kv_bytes_per_token(model), layers_of(model)
    return {
        **model.model_dump(mode="json", exclude_none=True),
        "counted": {
            "total_params": counts.total,
            "active_params": counts.active(),
            "weight_bytes": weight_bytes(model).total,
            "kv_bytes_per_token": kv.full,
            "window_kv_bytes_per_token": kv.window,
            "window": layers.window,
            "state_bytes_per_sequence": layers.total(lambda s: s.state_bytes),
        },
    }


def _model(model: Any, entry: "Entry") -> "RenderableType":
    from rich.console import Group

    data = _model_dict(model)
    counted = data.pop("counted")
    table = _table("counted by gcsim", "value")
    table.columns[1].justify = "right"
    table.add_row("parameters", f"{counted['total_params'] / 1e9:.1f} B")
    table.add_row("... that one token uses", f"{counted['active_params'] / 1e9:.2f} B")
    table.add_row("weights", f"{counted['weight_bytes'] / 1e9:.1f} GB")
    table.add_row("KV per token", f"{counted['kv_bytes_per_token'] / 1e3:.1f} kB")
    if counted["window_kv_bytes_per_token"]:
        window = f"{counted['window_kv_bytes_per_token'] / 1e3:.1f} kB"
        table.add_row(f"... of the last {counted['window']} tokens", f"+ {window}")
    if counted["state_bytes_per_sequence"]:
        state = f"{counted['state_bytes_per_sequence'] / 1e6:.1f} MB"
        table.add_row("state of a sequence", state)
    return Group(f"{_provenance(entry)}{_as_yaml(data)}".rstrip(), "", table)


def _placement(
    shape: Shape, output: OutputFormat, library: Library
) -> "RenderableType | dict[str, Any]":
    """What lies where on each chip of one replica."""
    from gcsim.machine.placement import COMPONENTS, place
    from gcsim.profiles.deployment import Deployment
    from gcsim.profiles.load import validate
    from gcsim.profiles.resolve import load_chip, load_model

    chip, model = load_chip(shape.chip, library), load_model(shape.model, library)
    pool = {"chip": chip, "tp": shape.tp, "ep": shape.ep, "pp": shape.pp}
    deployment = validate(Deployment, {"name": "placement", "pools": {"serve": pool}}, "placement")
    dtype = _dtype(shape.dtype)
    placement = place(model, deployment.pools["serve"], dtype)
    spill = {tier.tier: tokens for tier, tokens in placement.spill}
    tiers = []
    for use in placement.tiers:
        kv = placement.kv_tokens if "kv" in use.tier.holds else spill.get(use.tier.tier, 0)
        kv *= shape.ep
        tiers.append(
            {
                "tier": use.tier.tier,
                "capacity_bytes": use.tier.capacity.value,
                "bandwidth_bytes_per_s": use.tier.bandwidth.value,
                "weights_bytes": {name: use.weights.get(name, 0.0) for name in COMPONENTS},
                "kv_bytes": use.kv_bytes,
                "kv_tokens_per_replica": kv,
                "holds": list(use.tier.holds),
            }
        )
    found = {
        "chip": chip.name,
        "chips_per_replica": shape.tp * shape.ep * shape.pp,
        "model": model.name,
        "dtype": shape.dtype,
        "tiers_per_chip": tiers,
        "kv_tokens": placement.kv_tokens * shape.ep,
        "groups": shape.ep,
        "kv_bytes_per_chip_token": placement.kv_bytes_per_chip_token,
    }
    return found if output is OutputFormat.json else _placement_table(found)


def _placement_table(found: dict[str, Any]) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    from gcsim.results.text import three

    names = list(found["tiers_per_chip"][0]["weights_bytes"])
    table = _table("per chip [GB]", "capacity", *names, "room for KV", "KV tokens")
    for column in table.columns[1:]:
        column.justify = "right"
    for tier in found["tiers_per_chip"]:
        cells = [tier["capacity_bytes"], *tier["weights_bytes"].values(), tier["kv_bytes"]]
        kv = f"{tier['kv_tokens_per_replica']:,}" if tier["kv_tokens_per_replica"] else ""
        table.add_row(tier["tier"], *(three(c / 1e9) if c else "" for c in cells), kv)
    dtype = f" in {found['dtype']}" if found["dtype"] else ""
    head = f"{found['model']}{dtype} on {found['chips_per_replica']} x {found['chip']}"
    tail = "KV tokens are of the whole replica; evicted KV goes to the tiers below."
    if found["groups"] > 1:
        tail += f" Each of its {found['groups']} groups holds its own sequences in its own part."
    return Group(Text(head, style="bold"), table, Text(tail))


def _dtype(name: str | None) -> Any:
    """A weight format by name."""
    if name is None:
        return None
    from typing import get_args

    from gcsim.errors import ProfileError, nearest
    from gcsim.profiles.model import WeightFormat

    known = get_args(WeightFormat)
    if name not in known:
        why = "no number format of this name"
        raise ProfileError.one("--dtype", "", name, why, nearest(name, known))
    return name


def _table(*headers: str) -> "Table":
    from rich import box
    from rich.table import Table

    return Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
