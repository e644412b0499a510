"""Weather, for anybody: `{"date", "high", "low", "conditions"}` in the table `Weather` of a location, by day, and what
is usual in `HistoricWeather` of a location, by month.

Locations are lower case, months are lower-case full names. Temperatures are in degrees Fahrenheit, rain in inches.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tir_gym.errors import ToolError
from tir_gym.sandboxes.state import State
from tir_gym.tool import tool

FORECAST_DAYS = 3


@tool(scopes=("Weather",), comparators={"location": "folded"})
def CurrentWeather(state: State, location: str) -> dict[str, Any]:
    """Tell today's weather in a city: high, low and conditions. Temperatures are in degrees Fahrenheit.

    Args:
        location: Name of the city.
    """
    place = _place(state, "Weather", location)
    return {"weather": _day(state, place, state.now.date().isoformat())}


@tool(scopes=("Weather",), comparators={"location": "folded"})
def ForecastWeather(state: State, location: str) -> dict[str, list[Any]]:
    """Tell the weather of the next three days in a city, today not among them. Temperatures are in degrees Fahrenheit.

    Args:
        location: Name of the city.
    """
    place = _place(state, "Weather", location)
    today = state.now.date()
    days = [(today + timedelta(days=ahead)).isoformat() for ahead in range(1, FORECAST_DAYS + 1)]
    return {"forecast": [_day(state, place, day) for day in days]}


@tool(scopes=("HistoricWeather",), comparators={"location": "folded", "month": "folded"})
def HistoricWeather(state: State, location: str, month: str) -> dict[str, Any]:
    """Tell what weather a city usually has in a month: temperatures in degrees Fahrenheit, rain in inches, snow days.

    Args:
        location: Name of the city.
        month: Full English name of the month.
    """
    place = _place(state, "HistoricWeather", location)
    name = month.lower()
    usual = state.table("HistoricWeather", place).get(name)
    if usual is None:
        raise ToolError(f"Historic weather data for {place} missing for month {name}")
    return {"weather": usual}


TOOLS = (CurrentWeather, ForecastWeather, HistoricWeather)


def _place(state: State, table: str, location: str) -> str:
    place = location.lower().strip()
    if place not in state.world.records((table,)):
        raise ToolError(f"Location {place} not found in database")
    return place


def _day(state: State, place: str, day: str) -> Any:
    weather = state.table("Weather", place).get(day)
    if weather is None:
        raise ToolError(f"No weather data for {place} on {day}")
    return weather
