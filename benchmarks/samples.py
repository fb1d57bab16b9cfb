"""What the language models say, every precision of every engine, greedy and not chosen: docs/samples.md.

    python -m benchmarks.samples > docs/samples.md

The questions were written down before any was answered. The beginnings are those of the first held-out documents.
"""

from pipeline import students, tasks
from pipeline.engines.torch_session import TorchSession
from pipeline.layout import CHAT, GENERATION, TOKENIZER, Engine, Layout, ModelLayout
from pipeline.params.file import load_params
from pipeline.records.export import Export
from pipeline.records.generation import Generation
from pipeline.runtime.chat import Conversation
from pipeline.runtime.chat_format import read_chat_format
from pipeline.runtime.generate import Generator
from pipeline.runtime.session import Precision, Session, open_session
from pipeline.runtime.vocabulary import Vocabulary
from pipeline.text import document_split, storage

QUESTIONS = (
    "What is the capital of France?",
    "Why is the sky blue?",
    "Write a Python function that reverses a string.",
    "How many legs do three dogs have?",
    "Give me three tips for sleeping better.",
    "Who wrote Romeo and Juliet?",
    "Translate 'good morning' into Spanish.",
    "What does the HTTP status code 404 mean?",
)
ANSWER_TOKENS, BEGINNINGS, BEGINNING_CHARACTERS, REST_TOKENS = 60, 6, 60, 40


def main() -> None:
    print("# What the language models say\n")
    print("Made by `python -m benchmarks.samples`; nothing was left out or tried twice. Answers end at 60 tokens.")
    for model in load_params(Layout().params).params.fleet:
        paths = Layout().model(model)
        if (paths.quantized / GENERATION).is_file():
            show(model, paths)


def show(model: str, paths: ModelLayout) -> None:
    params = load_params(Layout().params).params.models[model]
    context = max(params.export.caches)  # type: ignore[attr-defined]
    spec = tasks.serving(params.task).model_spec(params, paths)
    print(f"\n## {model}: PyTorch, fp32\n")
    speak(generator(paths, TorchSession(students.load_model(paths.quantized), spec), "pytorch", context), paths)
    for engine in Engine:
        for variant, entry in Export.read(paths.export_manifest(engine)).variants.items():
            if variant.is_reduced:
                precision = Precision(**entry.precision.model_dump())
                session = open_session(engine, paths.variant(engine, variant), None, precision)
                print(f"\n## {model}: {engine.full_name}, {variant}\n")
                speak(generator(paths, session, engine, context), paths)


def generator(paths: ModelLayout, session: Session, engine: str, context: int) -> Generator:
    known = Generation.read(paths.quantized / GENERATION)
    chat, vocabulary = paths.quantized / CHAT, Vocabulary.open(paths.quantized / TOKENIZER)
    return Generator(
        engine,
        session,
        vocabulary,
        context=context,
        start=known.start,
        end=known.end,
        chat_format=read_chat_format(chat, vocabulary.special) if chat.is_file() else None,
    )


def speak(model: Generator, paths: ModelLayout) -> None:
    if model.chat_format is not None:
        for question in QUESTIONS:
            answer = "".join(Conversation(model, model.chat_format, None, None).say(question, max_tokens=ANSWER_TOKENS))
            print(f"> {question}\n\n{quoted(answer)}\n")
        return
    for one in document_split.load(paths.data / storage.HELDOUT)[:BEGINNINGS]:
        beginning = one.text[:BEGINNING_CHARACTERS]
        print(quoted(f"{beginning}⟨{''.join(model.generate(beginning, max_tokens=REST_TOKENS))}⟩") + "\n")


def quoted(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip().splitlines()) or "    (nothing)"


if __name__ == "__main__":
    main()
