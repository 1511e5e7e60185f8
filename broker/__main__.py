"""`python -m broker`: the `heddle` command, for where the script is not on the path."""

from broker.cli import main

if __name__ == "__main__":
    main(prog_name="heddle")
