"""The shared cache: a DVC remote that builds restore from and push to.

cache.py      as a build sees it: looked at once, left alone after the first trouble
stages.py     as a worker uses it: what restores a stage, and what is sent of one
remote.py     what the remote holds: objects with their hash checked, entries of the run-cache
storage.py    the file system behind it
"""
