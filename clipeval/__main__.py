"""`python -m clipeval`: the same as the command `clipeval`."""

from clipeval.cli import main

main()
