"""Imported in a process that multiprocessing spawns, where the function's modules look for `awslambdaric` as well."""

from samovar import alias

alias.install()
