"""Chat templates taken apart into pieces."""

import pytest

from pipeline.errors import InputError
from pipeline.text.chat_template import pieces_of

TOKENS = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": ""}
TURN = "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
CHATML = "{% for message in messages %}" + TURN + "{% endfor %}" + ASK
DEFAULT = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{% endif %}" + TURN + "{% endfor %}" + ASK
)
HEADERS = (
    "{{ bos_token }}{% for message in messages %}{{ '<|h|>' + message.role + '<|/h|>\\n\\n' + message.content | trim }}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}{{ '<|h|>assistant<|/h|>\\n\\n' }}{% endif %}"
)


def test_the_same_text_around_every_message() -> None:
    assert pieces_of(CHATML, TOKENS) == {
        "begin": "",
        "system": ("<|im_start|>system\n", "<|im_end|>\n"),
        "user": ("<|im_start|>user\n", "<|im_end|>\n"),
        "assistant": ("<|im_start|>assistant\n", "<|im_end|>\n"),
        "end_of_turn": "<|im_end|>",
        "default_system": None,
    }


def test_a_system_prompt_that_the_template_writes_by_itself() -> None:
    assert pieces_of(DEFAULT, TOKENS) == {**pieces_of(CHATML, TOKENS), "default_system": "Be kind."}


def test_what_begins_every_conversation_is_kept_apart() -> None:
    pieces = pieces_of(HEADERS, TOKENS)
    assert pieces["begin"] == "<s>"
    assert pieces["system"] == ("<|h|>system<|/h|>\n\n", "<|im_end|>")
    assert pieces["assistant"] == ("<|h|>assistant<|/h|>\n\n", "<|im_end|>")
    assert pieces["default_system"] is None


def test_whitespace_of_blocks_is_dropped_as_transformers_does() -> None:
    spread = CHATML.replace("{% for message in messages %}", "  {% for message in messages %}\n").replace(
        "{% endfor %}", "\n  {% endfor %}\n"
    )
    # What stands behind an expression stays: one more line break.
    assert pieces_of(spread, TOKENS)["user"] == ("<|im_start|>user\n", "<|im_end|>\n\n")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for message in messages %}", "is no Jinja"),
        ("hello", "it leaves out a message"),
        (CHATML.replace("message['content']", "message['content'] | upper"), "it leaves out a message"),
        # The system prompt goes into the first message of the user.
        (
            "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}\n{% else %}"
            "{{ loop.index ~ m.role ~ m.content ~ eos_token }}{% endif %}{% endfor %}",
            "not made of fixed pieces",
        ),
        # Only the first conversation that is checked differs.
        (CHATML + "{% if messages | length == 3 %}!{% endif %}", "and pieces give"),
        (CHATML.replace("<|im_end|>", "</turn>"), "begins with none of the special tokens"),
        ("{{ raise_exception('No system prompt') }}", "it refuses messages of system, user, .*: No system prompt"),
        ("{{ messages.append(1) }}", "it refuses messages of system"),
    ],
)
def test_templates_of_another_form_are_named(template: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        pieces_of(template, TOKENS)
    assert caught.value.exit_code == 2


def test_transformers_writes_the_same() -> None:
    # Slow to import, and only this test needs it.
    from transformers.utils.chat_template_utils import render_jinja_template

    from pipeline.runtime.chat_format import ChatFormat

    messages = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
    ]
    for template in (CHATML, DEFAULT, HEADERS):
        form = ChatFormat.from_json(pieces_of(template, TOKENS))
        written = "".join([*form.head(None), *form.ask("One?"), "Two.", form.assistant[1], *form.ask("Three?")])
        expected, _ = render_jinja_template([messages], chat_template=template, add_generation_prompt=True, **TOKENS)
        assert [written] == expected
