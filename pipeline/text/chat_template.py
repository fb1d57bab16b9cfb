"""From a chat template in Jinja to the pieces that stand around each message, so that a device needs no Jinja.

A template is a program that writes a whole conversation. Most only put fixed texts around each message. Here the
template writes a few conversations, their messages are taken out, and what is left are the pieces. Then it writes
others, and putting the pieces together must give the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline.errors import InputError
from pipeline.runtime.chat_format import ChatFormat

Message = tuple[str, str]

# Messages that no template contains, by role.
_SYSTEM, _USER, _ASSISTANT = "Qsystemq", "Quserq", "Qassistantq"
# Conversations that must be the same: roles alternate, and a system prompt may come first.
_CHECKED: tuple[tuple[Message, ...], ...] = (
    (("user", "Hello."),),
    (("system", "Be brief."), ("user", "Hello.")),
    (("user", "One?"), ("assistant", "Two."), ("user", "Three, four?")),
    (("system", "A\nB"), ("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4"), ("user", "5")),
)


def pieces_of(template: str, special_tokens: Mapping[str, str]) -> dict[str, Any]:
    """Take a chat template apart.

    Args:
        template: Jinja as tokenizers of transformers carry it.
        special_tokens: by the names that templates use, such as `bos_token` and `eos_token`.

    Returns:
        The content of chat.json; see `runtime.chat_format.ChatFormat`.

    Raises:
        InputError: the template is no Jinja, refuses a system prompt, ends no answer with a special token, or writes
            something that fixed pieces around the messages cannot.
    """
    writer = _Writer(template, special_tokens)
    form = _take_apart(writer, special_tokens)
    for messages in _CHECKED:
        written, put_together = writer.write(messages, ask=True), _put_together(form, messages)
        if written != put_together:
            raise _refusal(f"it writes {written!r:.300}, and pieces give {put_together!r:.300}")
    return form.as_json()


class _Writer:
    """Fills in a template as transformers does, in Jinja's sandbox: it came with a download."""

    def __init__(self, template: str, special_tokens: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.globals["raise_exception"] = _raise
        self._tokens = dict(special_tokens)
        try:
            self._template = environment.from_string(template)
        except jinja2.TemplateError as error:
            raise InputError(f"the chat template is no Jinja: {error}") from error

    def write(self, messages: Sequence[Message], ask: bool = False) -> str:
        """The conversation as text; with `ask` up to where the next answer begins."""
        listed = [{"role": role, "content": text} for role, text in messages]
        try:
            return self._template.render(messages=listed, add_generation_prompt=ask, **self._tokens)
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            roles = ", ".join(role for role, _ in messages)
            raise _refusal(f"it refuses messages of {roles}: {error}") from error


def _take_apart(writer: _Writer, special_tokens: Mapping[str, str]) -> ChatFormat:
    turn: tuple[Message, ...] = (("user", _USER), ("assistant", _ASSISTANT))
    before_system, before_user, before_answer, between, _, last = _around(
        writer.write((("system", _SYSTEM), *turn, *turn)), (_SYSTEM, _USER, _ASSISTANT, _USER, _ASSISTANT)
    )
    user_end = _around(writer.write((("system", _SYSTEM), ("user", _USER))), (_SYSTEM, _USER))[-1]
    user_begin = _without_prefix(between, last, "a message after an answer")
    answer_begin = _without_prefix(before_answer, user_end, "an answer after a message")
    system_end = _without_suffix(before_user, user_begin, "a message after the system prompt")
    begin, default = _beginning(writer, before_system, system_end, user_begin)
    ends = [token for token in special_tokens.values() if token and last.startswith(token)]
    if not ends:
        known = ", ".join(special_tokens.values())
        raise _refusal(f"what stands behind an answer, {last!r}, begins with none of the special tokens {known}")
    return ChatFormat(
        begin=begin,
        system=(before_system.removeprefix(begin), system_end),
        user=(user_begin, user_end),
        assistant=(answer_begin, last),
        end_of_turn=max(ends, key=len),
        default_system=default,
    )


def _beginning(writer: _Writer, before_system: str, system_end: str, user_begin: str) -> tuple[str, str | None]:
    """What stands before everything, and the system prompt that the template writes where none is given."""
    (alone, _) = _around(writer.write((("user", _USER),)), (_USER,))
    rest = _without_suffix(alone, user_begin, "the first message")
    if len(rest) >= len(before_system + system_end) and rest.startswith(before_system) and rest.endswith(system_end):
        return "", rest[len(before_system) : len(rest) - len(system_end)]
    if not before_system.startswith(rest):
        raise _refusal(f"without a system prompt it begins with {rest!r}, and with one {before_system!r}")
    return rest, None


def _put_together(form: ChatFormat, messages: Sequence[Message]) -> str:
    """What a device makes of a conversation that ends with a message of the user."""
    system = messages[0][1] if messages[0][0] == "system" else None
    written = "".join(form.head(system))
    for role, text in messages:
        if role == "user":
            written += "".join(form.ask(text))
        elif role == "assistant":
            written += text + form.assistant[1]
    return written


def _around(written: str, messages: Sequence[str]) -> list[str]:
    """The pieces before, between and behind messages."""
    pieces = []
    for message in messages:
        before, found, written = written.partition(message)
        if not found:
            raise _refusal("it leaves out a message, or changes its order")
        pieces.append(before)
    return [*pieces, written]


def _without_prefix(text: str, prefix: str, what: str) -> str:
    if not text.startswith(prefix):
        raise _refusal(f"before {what} stands {text!r}, which does not begin with {prefix!r}")
    return text[len(prefix) :]


def _without_suffix(text: str, suffix: str, what: str) -> str:
    if not text.endswith(suffix):
        raise _refusal(f"before {what} stands {text!r}, which does not end with {suffix!r}")
    return text[: len(text) - len(suffix)]


def _raise(message: str) -> NoReturn:
    """What templates call `raise_exception`."""
    raise jinja2.TemplateError(message)


def _refusal(reason: str) -> InputError:
    advice = "give the model a template with the same text around every message, or release it without chat"
    return InputError(f"the chat template is not made of fixed pieces: {reason}; {advice}")
