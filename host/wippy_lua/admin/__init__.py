"""A running host over HTTP: is it well, what has it done, and the verbs of an operator.

`app.py` is the WSGI app with its routes, `guard.py` who may use it, `server.py` the server that
`wippy-lua run --admin` starts. Health, metrics and the verbs have a file each.
"""
