"""Train, watch and race F1TENTH cars; `python -m training --help` lists the commands."""
