"""How a model writes a conversation: chat.json holds the pieces of its chat template, so no device needs Jinja."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.runtime.errors import TamperedError


@dataclass(frozen=True)
class ChatFormat:
    """What stands around the messages of each role; special tokens are written out.

    Attributes:
        begin: before everything.
        system: before and behind the system prompt.
        user: before and behind a message of the user.
        assistant: before and behind an answer.
        end_of_turn: the special token that ends an answer.
        default_system: the system prompt where none is given; `None` leaves it out.
    """

    begin: str
    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    end_of_turn: str
    default_system: str | None

    def as_json(self) -> dict[str, Any]:
        """The content of chat.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ChatFormat":
        """What `as_json` wrote, read back; KeyError, TypeError or ValueError where it is something else."""
        default = content["default_system"]
        return cls(
            begin=_text(content["begin"]),
            system=_pair(content["system"]),
            user=_pair(content["user"]),
            assistant=_pair(content["assistant"]),
            end_of_turn=_text(content["end_of_turn"]),
            default_system=None if default is None else _text(default),
        )

    def head(self, system: str | None) -> tuple[str, str, str]:
        """What a conversation begins with: the template before the system prompt, that prompt, the template behind it.

        Args:
            system: the system prompt; `None` for the default one.
        """
        text = self.default_system if system is None else system
        return (self.begin, "", "") if text is None else (self.begin + self.system[0], text, self.system[1])

    def ask(self, message: str) -> tuple[str, str, str]:
        """A message of the user with the template before it, and behind it up to where the answer begins."""
        return self.user[0], message, self.user[1] + self.assistant[0]


def read_chat_format(path: Path, special: Collection[str]) -> ChatFormat:
    """Read chat.json.

    Args:
        path: where it lies.
        special: the special tokens of the model's tokenizer.

    Raises:
        TamperedError: it cannot be understood, or ends a turn with no special token.
    """
    try:
        form = ChatFormat.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise TamperedError(f"{path} is damaged ({type(error).__name__}: {error}): fetch the release again") from error
    if form.end_of_turn not in special:
        raise TamperedError(f"{path} ends a turn with {form.end_of_turn!r}, which is no special token of the tokenizer")
    return form


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _pair(value: Any) -> tuple[str, str]:
    before, behind = value
    return _text(before), _text(behind)
