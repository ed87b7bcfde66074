"""The parts of a setting's declaration: its group, its default, its description, the types that several share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, Strict

# YAML writes lists, frozen models hold tuples: only the container is lax, its items stay strict.
Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Strict(strict=False)]
Sizes = Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Strict(strict=False)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
Entropy = Annotated[float, Field(ge=-100, le=100)]
Factor = Annotated[float, Field(ge=0, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]
Grid = Literal["single_file", "side_by_side", "either"]
# The simulator keeps one more command than this (training.sim.params): settings are read without loading it.
MOST_STEERING_DELAY = 15
Delay = Annotated[int, Field(ge=0, le=MOST_STEERING_DELAY)]


def low_to_high(span: tuple[float, float]) -> tuple[float, float]:
    """Refuse a range whose ends are the wrong way round."""
    if span[0] > span[1]:
        raise ValueError("the low end is above the high end")
    return span


FactorSpan = Annotated[tuple[Factor, Factor], Strict(strict=False), AfterValidator(low_to_high)]
DelaySpan = Annotated[tuple[Delay, Delay], Strict(strict=False), AfterValidator(low_to_high)]

FACTORS = "[low, high], numbers within 0 to 10"
TRACKS = (
    "list of names (`python -m training tracks list`), generated-SEED, circuit-SEED, hall-SEED, or paths of ROS map "
    "yamls"
)


def setting(
    default: object,
    description: str,
    *,
    legal: str = "",
    formerly: str = "",
    former_values: dict[bool, str] | None = None,
    **limits: Any,  # noqa: ANN401 - pydantic's
) -> Any:  # noqa: ANN401 - any field
    """Declare one setting.

    limits: pydantic's (ge, gt, le, pattern, …); legal says them in words.
    formerly: the name that the setting had in its group, or its former dotted key; it is still read. former_values:
    what its values meant, if it was a switch.
    """
    meant: dict[str, JsonValue] = {str(value): now for value, now in (former_values or {}).items()}
    extra: dict[str, JsonValue] = {"legal": legal, "formerly": formerly, "former_values": meant}
    return Field(default=default, description=description, json_schema_extra=extra, **limits)


class Section(BaseModel):
    """A group of settings; unknown keys, wrong types and later changes are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
