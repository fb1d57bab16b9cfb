"""Measurements and budgets in, verdict out.

verdict.py     the fleet, a model, an engine: who is judged in which order
ladder.py      which step of the ladder of precisions ships
checks.py      one budget, one number, one message
statistics.py  the rule by which a latency passes, fails, or is too noisy to tell
payoff.py      what a step down gained, and how fast the student is against the teacher
evidence.py    verification and measurements of a model, joined once
certain.py     what a stage before the benchmark knows already
"""
