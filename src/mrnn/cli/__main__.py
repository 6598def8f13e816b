"""`python -m mrnn.cli`, where the `mrnn` command is not on the path."""

from mrnn.cli import main

main()
