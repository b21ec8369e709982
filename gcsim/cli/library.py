"""`gcsim list` and `gcsim show`: profiles for people, and as JSON."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from gcsim.cli.console import Format
from gcsim.profiles import library

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from gcsim.profiles.base import Quantity
    from gcsim.profiles.chip import Chip


@dataclass(frozen=True, slots=True)
class Shape:
    """What a placement is asked for."""

    chip: str
    model: str
    tp: int
    ep: int
    pp: int
    dtype: str | None


def listed(kind: str) -> list[dict[str, Any]]:
    """Name, description and file of every shipped profile of a kind."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    rows = []
    for name, path in library.shipped(kind).items():
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
        text = " ".join(str(data.get("description", "")).split())
        rows.append({"name": name, "description": text, "file": str(path)})
    return rows


def listed_table(title: str, rows: list[dict[str, Any]]) -> "Table":
    """Names and descriptions."""
    table = _table(title.rstrip("s"), "description")
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(row["name"], row["description"])
    return table


def shown(
    kind: str, name: str, output: Format, shape: Shape | None = None
) -> "RenderableType | dict[str, Any]":
    """One profile, or a placement, as what `emit` takes."""
    if shape is not None:
        return _placement(shape, output)
    if kind == "chip":
        from gcsim.profiles.resolve import load_chip

        chip = load_chip(name)
        return chip.model_dump(mode="json") if output is Format.json else _chip(chip)
    if kind == "stack":
        from gcsim.profiles.load import read_mapping
        from gcsim.profiles.resolve import load_stack

        stack = load_stack(name)
        if output is Format.json:
            return stack.model_dump(mode="json", exclude_none=True)
        return _as_yaml(read_mapping(library.find("stack", name))[0])
    if kind == "model":
        from gcsim.profiles.resolve import load_model

        model = load_model(name)
        return _model_dict(model) if output is Format.json else _model(model)
    if kind == "workload":
        from gcsim.profiles.workload import load_workload, read_workload

        workload = load_workload(name)
        if output is Format.json:
            return workload.model_dump(mode="json", exclude_none=True)
        return _as_yaml(read_workload(name)[0])
    if kind == "scenario":
        from gcsim.profiles.resolve import resolve

        mapping = resolve(name).mapping
        return mapping if output is Format.json else _as_yaml(mapping)
    return _deployment(name, output)


def _deployment(name: str, output: Format) -> "RenderableType | dict[str, Any]":
    from gcsim.profiles.deployment import Deployment
    from gcsim.profiles.load import read_mapping, validate
    from gcsim.profiles.resolve import load_chip

    path = library.find("deployment", name)
    mapping, lines = read_mapping(path)
    pools = mapping.get("pools")
    full = mapping
    if isinstance(pools, dict):
        chips = {
            key: load_chip(pool["chip"], path.parent)
            for key, pool in pools.items()
            if isinstance(pool, dict) and isinstance(pool.get("chip"), str)
        }
        named = {key: {**pool, "chip": chips[key]} for key, pool in pools.items() if key in chips}
        full = {**mapping, "pools": {**pools, **named}}
    deployment = validate(Deployment, full, str(path), lines)
    if output is Format.table:
        return _as_yaml(mapping)
    found = deployment.model_dump(mode="json", by_alias=True)
    for key, pool in deployment.pools.items():
        found["pools"][key]["chip"] = pool.chip.name
    return found


def _as_yaml(mapping: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True, width=100)
    return text


def _chip(chip: "Chip") -> "RenderableType":
    """Every number of a chip, where it comes from, and the values that were not taken."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    from gcsim.profiles.assumed import quantities

    head = f"{chip.name} ({chip.vendor}), execution: {chip.execution}"
    parts: list[RenderableType] = [Text(head, style="bold"), " ".join(chip.description.split())]
    section, assumed = "", 0
    for path, quantity in quantities(chip):
        place, _, name = _named(path, chip).rpartition(".")
        if place != section:
            parts.append(Text(f"\n{place}", style="bold"))
            section = place
        assumed += quantity.kind == "assumed"
        style = "yellow" if quantity.kind == "assumed" else ""
        parts.append(Text(f"  {_number(name, quantity)}", style=style))
        lines = (Text(line, style="dim") for line in _origin(quantity))
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


def _origin(quantity: "Quantity") -> list[str]:
    lines = [quantity.source + (f" ({quantity.note})" if quantity.note else "")]
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


def _model(model: Any) -> "RenderableType":
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
    return Group(_as_yaml(data).rstrip(), "", table)


def _placement(shape: Shape, output: Format) -> "RenderableType | dict[str, Any]":
    """What lies where on each chip of one replica."""
    from gcsim.machine.placement import COMPONENTS, place
    from gcsim.profiles.deployment import Deployment
    from gcsim.profiles.load import validate
    from gcsim.profiles.resolve import load_chip, load_model

    chip, model = load_chip(shape.chip), load_model(shape.model)
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
    return found if output is Format.json else _placement_table(found)


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
