"""Commands of the rooms: their options, and what they print. Modules here import a room only when it is asked."""

from sluice.commands.usage import WrongUsage

__all__ = ["WrongUsage"]
