"""Every JSON artifact as a frozen model, read and written in one place.

step.py          report.json of teacher, student, pruned and quantized
export.py        export.json of an engine
generation.py    generation.json of a language model
verification.py  verify.json of a model
results.py       results.json of the benchmark
verdict.py       verdict.json of the gate
history.py       history.jsonl of the nightly builds
"""
