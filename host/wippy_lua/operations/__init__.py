"""What an operator does with queues: see, publish, pause, purge, and repair dead letters.

`contract.py` says what can be done, `values.py` in which words; `local.py` does it with the queues
of this process, whether a running host's or those that `opening.py` opens for one command.
"""
