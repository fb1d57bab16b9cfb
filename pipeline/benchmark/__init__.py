"""Measuring variants: each in its own process on its own cores, in interleaved blocks.

subjects.py     what is measured: verify.json and its files, checked, as `Subject`s
lanes.py        which cores measure what
run.py          the rounds: interleaved blocks over lanes
worker.py       a child process seen from outside: commands, deadlines, how it died
child.py        the same process seen from inside: loads one variant and times it
measure.py      the timing loop; knows a callable and nothing else
statistics.py   samples in, percentiles out
results.py      results.json, metrics.json and the raw samples
null.py         an engine that computes nothing, or fails as a test asks
progress.py     how far it is, without waking up a core that is being timed
host.py         fingerprint of the machine
"""
