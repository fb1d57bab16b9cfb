"""Measuring variants: each in its own process on its own cores, in interleaved blocks.

jobs.py         what is measured: variants.json and its files, checked, as `Subject`s
lanes.py        which cores measure what
run.py          the rounds: interleaved blocks over lanes
worker.py       a child process seen from outside: commands, deadlines, how it died
child.py        the same process seen from inside: loads one variant and times it
measure.py      the timing loop; knows a callable and nothing else
statistics.py   samples in, percentiles out
results.py      results.json, metrics.json and the raw samples
evidence.py     variants.json and results.json put together for the gate
null.py         an engine that computes nothing, or fails as a test asks
progress.py     how far it is, without waking up a core that is being timed
host.py         fingerprint of the machine
"""
