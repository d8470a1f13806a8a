"""`python -m wippy_lua`: the command line."""

from wippy_lua.cli import main

main()
