"""The shared cache: a DVC remote that builds restore from and push to.

cache.py      asks once in a build whether the cache can be used, and leaves it alone after the first trouble
stages.py     finds what restores a stage, and sends what a stage left; runs in a job
remote.py     transfers objects with their hash checked, and entries of the run-cache
storage.py    opens the file system behind the remote
"""
